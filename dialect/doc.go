// Package dialect holds the words of the API that Davit has and Docker has
// not: what a client and the engine say to each other in JSON.
//
// It owns types alone, beside those of moby's API that it uses; what is done
// with them is others' business. Nothing in it is ever changed after it was
// decoded.
package dialect
