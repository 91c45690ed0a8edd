package client

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Filters are conditions on what is listed: of each name, any of the values.
type Filters map[string]map[string]bool

// Add adds a value to those of a name.
func (f Filters) Add(name, value string) {
	if f[name] == nil {
		f[name] = map[string]bool{}
	}
	f[name][value] = true
}

func (f Filters) addTo(query url.Values) {
	if len(f) > 0 {
		text, _ := json.Marshal(f) // maps of texts can be encoded
		query.Set("filters", string(text))
	}
}

// set sets what is not empty.
func set(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

// flag sets what is true.
func flag(query url.Values, name string, value bool) {
	if value {
		query.Set(name, "1")
	}
}

// layouts are those of a time, each understood with a zone and, where it has
// none, in the zone of this host. A fraction of a second may follow.
var layouts = [...]string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"}

// timestamp turns a time as people write it, or a duration before now, into
// seconds since 1970; "" stays.
func timestamp(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if d, err := time.ParseDuration(text); err == nil && text != "0" {
		return strconv.FormatInt(now.Add(-d).Unix(), 10), nil
	}
	for _, layout := range layouts {
		t, err := time.Parse(layout+"Z07:00", text)
		if err != nil {
			t, err = time.ParseInLocation(layout, text, now.Location())
		}
		if err == nil {
			return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()), nil
		}
	}
	seconds, fraction, has := strings.Cut(text, ".")
	_, err := strconv.ParseInt(seconds, 10, 64)
	if err == nil && has {
		_, err = strconv.ParseUint(fraction, 10, 64)
	}
	if err != nil {
		return "", fmt.Errorf("failed to parse value as time or duration: %q", text)
	}
	return text, nil
}
