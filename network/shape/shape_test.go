package shape

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/davit-engine/davit/errs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestParse(t *testing.T) {
	for text, want := range map[string]Rate{
		"":                                {},
		"none":                            {},
		"up=10mbit,down=50mbit":           {Up: 10e6, Down: 50e6},
		"down=1.5gbit":                    {Down: 1.5e9},
		"up=10Mbit/s":                     {Up: 10e6},
		"up=8000bit":                      {Up: 8000},
		"up=0,down=64kbit":                {Down: 64e3},
		"down=1tbit,burst=1m":             {Down: 1e12, Burst: 1 << 20},
		"up=10mbit, burst=64k":            {Up: 10e6, Burst: 64 << 10},
		"delay=20ms":                      {Delay: 20 * time.Millisecond},
		"loss=0.5%,delay=0,down=100kbit":  {Down: 100e3, Loss: .5},
		"loss=3":                          {Loss: 3},
		"up=1mbit,delay=1.5s,loss=100%":   {Up: 1e6, Delay: 1500 * time.Millisecond, Loss: 100},
		"up=0,down=0,burst=0,delay=0ms":   {},
		"down=2.5mbit,up=1gbit,burst=1gb": {Up: 1e9, Down: 2.5e6, Burst: 1 << 30},
	} {
		r, err := Parse(text)
		if err != nil || r != want {
			t.Errorf("%q is %+v, %v; want %+v", text, r, err, want)
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Errorf("%q is written %q, which is read as %+v, %v", text, r, again, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"10mbit":               "not of the form KEY=VALUE",
		"up":                   "not of the form KEY=VALUE",
		"up=10mbit,":           "not of the form KEY=VALUE",
		"sideways=1mbit":       `there is no "sideways"`,
		"up=1mbit,up=2mbit":    "up is there twice",
		"up=10":                "the unit is missing",
		"up=10mbps":            "megabits to some and megabytes to others: write mbit",
		"up=10MB":              `there is no unit "mb"`,
		"up=fast":              "not a rate",
		"up=-1mbit":            "not a rate",
		"up=nanmbit":           "not a rate",
		"up=1e40mbit":          "from 8kbit to 1tbit",
		"down=1bit":            "from 8kbit to 1tbit",
		"up=1mbit,burst=much":  "not a size",
		"up=1mbit,burst=100":   "from 1600 bytes",
		"up=1mbit,burst=2g":    "from 1600 bytes",
		"burst=64k":            "a burst goes with up or down",
		"delay=20":             "not a time",
		"delay=-1ms":           "not a time",
		"delay=2m":             "of 1m0s at most",
		"loss=101%":            "not a percentage",
		"loss=NaN":             "not a percentage",
		"up=1mbit,loss=little": "not a percentage",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), text) || !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%q: %v; want one that says %q", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"up=10mbit,down=50mbit", "burst=64k,up=1.5gbit/s", "delay=20ms,loss=0.5%", "none", "up=1e3kbit"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Fatalf("%q is %+v, written %q, read as %+v, %v", text, r, r, again, err)
		}
		for _, step := range decide(place{"v", 1500}, "i", Rate{}, r) {
			if b, ok := step.kind.(tbf); ok && (b.rate < minRate/8 || b.burst < 1500 || b.limit <= b.burst) {
				t.Fatalf("%q: %s", text, b)
			}
		}
	})
}

func TestPlan(t *testing.T) {
	var b strings.Builder
	for _, c := range []struct {
		title   string
		mtu     int
		was, is string
	}{
		{"both directions", 1500, "none", "up=10mbit,down=50mbit"},
		{"slow", 1500, "none", "up=64kbit"},
		{"fast", 1500, "none", "down=40gbit"},
		{"large packets", 9000, "none", "down=1mbit"},
		{"a burst smaller than a packet", 9000, "none", "up=1mbit,burst=2k"},
		{"a burst", 1500, "none", "up=1mbit,down=1mbit,burst=1m"},
		{"delay and loss alone", 1500, "none", "delay=50ms,loss=1%"},
		{"delay and rate", 1500, "none", "up=1gbit,down=1gbit,delay=50ms"},
		{"other values", 1500, "up=10mbit,down=50mbit", "up=20mbit,down=50mbit"},
		{"up no more", 1500, "up=10mbit,down=50mbit", "down=50mbit"},
		{"up too", 1500, "down=50mbit", "up=10mbit,down=50mbit"},
		{"delay too", 1500, "up=10mbit", "up=10mbit,delay=5ms"},
		{"the rate no more, the delay still", 1500, "up=10mbit,delay=5ms", "delay=5ms"},
		{"nothing any more", 1500, "up=10mbit,down=50mbit,loss=1%", "none"},
		{"nothing at all", 1500, "none", "none"},
	} {
		was, err := Parse(c.was)
		if err != nil {
			t.Fatal(err)
		}
		is, err := Parse(c.is)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("# " + c.title + ": " + c.was + " -> " + c.is + "\n" + decide(place{"dv1", c.mtu}, "di1", was, is).String() + "\n")
	}
	path := filepath.Join("testdata", "plans.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the plans are others now (-update rewrites them):\n%s", b.String())
	}
}
