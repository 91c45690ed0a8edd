package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/davit-engine/davit/errs"
)

// validName checks a container's name by Docker's rule:
// [a-zA-Z0-9][a-zA-Z0-9_.-]+, with a leading slash allowed.
func validName(name string) error {
	n := strings.TrimPrefix(name, "/")
	ok := len(n) > 1
	for i, r := range n {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !alnum && (i == 0 || r != '_' && r != '.' && r != '-') {
			ok = false
		}
	}
	if !ok {
		return errs.New(errs.InvalidParameter, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

var adjectives = strings.Fields(`able agile amber apt azure balmy bold brave bright brisk bronze calm candid clever cobalt coral cosy crisp
	curious deft dewy eager early earnest even fair fleet fond free fresh frosty gentle glad golden grand green happy hardy hazel
	honest humble ivory jade jolly keen kind late level light lively loyal lucid lucky mellow merry mild mint misty modest neat nimble noble
	olive open patient peppy placid plain plucky polite prime proud quick quiet ready regal ripe robust rosy round ruby rustic sage sandy
	serene sharp shiny silent silver sleek smooth snowy solid spry stable steady still sturdy sunny super swift tidy trim true trusty
	upbeat velvet vivid warm wise witty woody young zesty`)

var animals = strings.Fields(`adder alpaca ant auk badger bat bear beaver bee bison bittern boar bobcat bream bunting buzzard camel carp cat
	chough cicada civet clam cod colt condor coot cormorant cow crab crane cricket crow curlew deer dingo dog dolphin donkey dormouse dove
	duck dunlin eagle eel egret eider elk emu ermine falcon ferret finch fox frog gannet gazelle gecko gibbon goat goose grouse gull
	hare hawk heron hornet horse ibex ibis iguana jackal jackdaw jay kestrel kite kiwi koala lark lemming lemur linnet lion lizard llama
	lobster lynx magpie mallard marmot marten merlin mole moose moth mouse mule newt ocelot okapi orca oriole osprey otter owl ox
	panda parrot perch pike plover pony puffin quail rabbit raccoon ram raven redstart robin rook salmon seal shrew shrike skylark snipe
	sparrow spider squid stag starling stoat stork swallow swan swift tapir teal tern thrush toad trout turtle viper vole walrus wasp
	weasel whale wigeon wolf wombat wren yak zebra`)

// randomName returns a name that is not taken.
func randomName(taken func(string) bool) string {
	for try := 0; ; try++ {
		n := adjectives[rand.IntN(len(adjectives))] + "_" + animals[rand.IntN(len(animals))]
		if try > 2 {
			n = fmt.Sprintf("%s%d", n, rand.IntN(1<<(3*min(try, 10))))
		}
		if !taken(n) {
			return n
		}
	}
}
