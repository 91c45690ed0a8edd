// Package program turns an OCI runtime spec into a program.
package program
