// Package e2e drives a whole engine as a person does: through the davit command
// line and, word for word the same, through an unmodified docker command line.
//
// Its tests share one engine, so each uses names of its own and counts only
// what it made; tests that restart or damage an engine start one for
// themselves. It imports nothing of the engine. Without root all tests skip.
package e2e
