package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// suggestions are the commands below cmd that word may have been meant for,
// the likeliest first: those that it begins, and those that one slip of the
// fingers makes it, two in longer words.
func suggestions(cmd *cobra.Command, word string) []string {
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	allowed := 1
	if len(word) > 4 {
		allowed = 2
	}
	for _, c := range cmd.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		d := distance(word, c.Name())
		if d > allowed && !(len(word) > 1 && strings.HasPrefix(c.Name(), word)) {
			continue
		}
		found = append(found, candidate{c.Name(), d})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.distance - b.distance })
	var names []string
	for _, c := range found {
		names = append(names, c.name)
	}
	return names
}

// distance counts the letters to be added, dropped, replaced or swapped with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
