package swagger

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// undocumented lists status codes that Docker's engine sends although the
// description leaves them out.
func undocumented(o operation, status int) bool {
	switch status {
	case http.StatusBadRequest: // every parameter can be malformed, every version refused
		return true
	case http.StatusNotImplemented, http.StatusServiceUnavailable, http.StatusInternalServerError: // any operation can fail
		return true
	case http.StatusSwitchingProtocols:
		return slices.Contains([]string{"/containers/{id}/attach", "/exec/{id}/start", "/session"}, o.pattern)
	case http.StatusForbidden: // reserved names, and images that may not be pulled
		return o.pattern == "/images/create" || o.pattern == "/images/{name}/push"
	case http.StatusUnauthorized:
		return o.pattern == "/auth" || o.pattern == "/images/create" || o.pattern == "/images/{name}/push"
	case http.StatusNotModified:
		return o.pattern == "/containers/{id}/restart"
	case http.StatusNotFound: // the container or the image is gone by then
		return o.pattern == "/containers/create" ||
			o.pattern == "/images/get" || o.pattern == "/images/{name}/get" || o.pattern == "/images/load"
	case http.StatusConflict: // of a container that is being removed; of an update with the container's other limits
		// of a container that does not run; of two prunes at once
		// of a network's name; of an endpoint of a container that is being removed
		return strings.HasPrefix(o.pattern, "/networks/") || o.pattern == "/containers/{id}/top" || o.pattern == "/containers/prune" || o.pattern == "/images/prune" || o.pattern == "/containers/{id}/start" || o.pattern == "/containers/{id}/stop" || o.pattern == "/containers/{id}/restart" ||
			o.pattern == "/containers/{id}/resize" || o.pattern == "/containers/{id}/attach" || o.pattern == "/containers/{id}/update"
	}
	return false
}

// own are the operations that Docker's API has not, or has and does not describe.
var own = regexp.MustCompile(`^(POST /exec/[^/]+/kill|POST /containers/[^/]+/change|GET /containers/[^/]+/(request|explain)|GET /images/.+/explain|` +
	`(POST|GET|DELETE) /containers/[^/]+/checkpoints(/[^/]+){0,2}|POST /checkpoints/import|GET /networks/)$`)

// mayBeEmpty are streams that may end before their first message.
var mayBeEmpty = map[string]bool{"/events": true, "/images/create": true, "/images/load": true, "/images/{name}/push": true, "/containers/{id}/wait": true}

// erratum is a complaint that the description deserves, not the answer.
type erratum struct {
	pattern string // empty: everywhere
	before  int    // only in versions older than 1.before; 0: in all
	text    *regexp.Regexp
	reason  string
}

var errata = []erratum{
	{"", 0, regexp.MustCompile(`must be of type (array|object|string|integer|boolean).*"null"`),
		"Docker sends null for lists, maps and pointers that are empty, and few of them are marked x-nullable"},
	{"", 0, regexp.MustCompile(`must validate all the schemas \(allOf\)`),
		"sums up other complaints, which stand beside it and are judged one by one"},
	{"/networks/{id}", 0, regexp.MustCompile(`^invalid type conversion in Status\.IPAM\.Subnets\..*: value out of range$`),
		"the numbers of addresses are uint64, and validated as int64"},
	{"/containers/{id}/json", 32, regexp.MustCompile(`^NetworkSettings.Ports in body must be of type array: "object"$`),
		"ports have always been an object"},
	{"/system/df", 40, regexp.MustCompile(`^Containers\.\d+ in body must be of type array: "object"$`),
		"containers are a list, not a list of lists"},
}
