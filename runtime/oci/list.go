package oci

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

func newList() *command {
	format, quiet := "table", false
	c := &command{name: "list", about: "list containers", max: 0}
	c.flags.text(&format, "format f", "table|json", "form of the list")
	c.flags.toggle(&quiet, "quiet q", "print IDs only")
	c.run = func(i *invocation, _ []string) (int, error) { return 0, list(i, format, quiet) }
	return c
}

func list(i *invocation, format string, quiet bool) error {
	if format != "table" && format != "json" {
		return fmt.Errorf("list: --format is table or json, not %q", format)
	}
	ids, err := i.store.ids()
	if err != nil {
		return err
	}
	if quiet {
		for _, id := range ids {
			fmt.Println(id)
		}
		return nil
	}
	var all []view // null in JSON for none, as with runc
	users := userNames()
	for _, id := range ids {
		c, err := i.store.open(id)
		if err != nil {
			i.log.debug("leaving %s out: %v", id, err) // deleted meanwhile
			continue
		}
		v := c.view()
		v.Owner = users(c.Owner)
		all = append(all, v)
	}
	if format == "json" {
		return printJSON(os.Stdout, all, "")
	}
	w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
	fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
	for _, v := range all {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", v.ID, v.Pid, v.Status, v.Bundle, v.Created.Format(time.RFC3339Nano), v.Owner)
	}
	return w.Flush()
}

// userNames gives the names of users by number, as /etc/passwd has them; # and
// the number for others.
func userNames() func(uid int) string {
	b, _ := os.ReadFile("/etc/passwd") // without it there are numbers
	names := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, ":"); len(f) > 3 && names[f[2]] == "" {
			names[f[2]] = f[0]
		}
	}
	return func(uid int) string {
		n := strconv.Itoa(uid)
		if name, ok := names[n]; ok {
			return name
		}
		return "#" + n
	}
}
