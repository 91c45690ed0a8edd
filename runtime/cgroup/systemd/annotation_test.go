package systemd

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/davit-engine/davit/errs"
)

func TestAnnotations(t *testing.T) {
	list, err := annotated(map[string]string{
		"org.example.other":                    "whatever",
		annotation + "TimeoutStopUSec":         "uint64 9000000",
		annotation + "TimeoutStartSec":         "15",
		annotation + "CollectMode":             "'inactive-or-failed'",
		annotation + "SendSIGKILL":             "false",
		annotation + "After":                   `["one.service", 'it\'s']`,
		annotation + "Before":                  "@as []",
		annotation + "OOMScoreAdjust":          "int32 -5",
		annotation + "RuntimeRandomizedExtraX": "byte 0x1f",
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		got = append(got, p.signature+" "+print([]property{p}))
	}
	want := `as ["After"=["one.service", "it's"]]
as ["Before"=[]]
s ["CollectMode"="inactive-or-failed"]
i ["OOMScoreAdjust"=-5]
y ["RuntimeRandomizedExtraX"=31]
b ["SendSIGKILL"=false]
t ["TimeoutStartUSec"=15000000]
t ["TimeoutStopUSec"=9000000]`
	if strings.Join(got, "\n") != want {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
	for name, value := range map[string]string{"": "1", "A.b": "1", "Aü": "1", "A": "", "B": "'", "C": "'a", "D": "'a'b", "E": "[", "F": "['a'", "G": "['a' 'b']",
		"H": "uint64 -1", "I": "byte 256", "J": "text", "K": "int16 1", "L": "['a',, 'b']", "MSec": "'1'", "NSec": "uint64 99999999999999999", "O": `'\x'`, "P": "[1]"} {
		if _, err := annotated(map[string]string{annotation + name: value}); !errs.Is(err, errs.InvalidParameter) {
			t.Errorf("%s: %q is accepted: %v", name, value, err)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, seed := range []string{"true", "'a'", `"a\"b"`, "uint64 1", "-1", "['a', \"b\"]", "@as []"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseValue(text)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		shown := print([]property{{"X", v.signature, v.encode}})
		if strings.Contains(shown, "malformed") {
			t.Errorf("%q: %s", text, shown)
		}
	})
}
