package dialect

// Explanation answers GET /containers/{id}/explain and GET
// /images/{name}/explain: what runs, or would run, and why.
type Explanation struct {
	Kind   string // "container", or "image" for what a plain run of it would make
	Name   string
	ID     string
	Image  string // as its user calls it
	Status string `json:",omitempty"` // of a container
	Facts  []Fact
	// Warnings are what could not be found out, such as a user that the image
	// does not know.
	Warnings []string
}

// Fact is one thing about a container.
type Fact struct {
	Group string // "process", "files", "network", "limits", "security", "life" or "log"
	Name  string
	Value string
	From  From `json:",omitempty"` // "": it follows from the others
}

// From says who decided.
type From string

// Those who decide.
const (
	FromUser          From = "user"          // an option of run or update, a field of the request
	FromImage         From = "image"         // what its Dockerfile says
	FromConfiguration From = "configuration" // daemon.json, or an option of the engine's
	FromEngine        From = "engine"        // chosen for this container
	FromDefault       From = "default"       // nobody has said anything
)
