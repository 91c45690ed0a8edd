// Package compat lets programs that know nothing of Davit work with it: Docker's
// SDK for Python, skopeo, and Debian's docker-registry.
//
// Its tests share nothing but the helpers of test/engine and import nothing of
// the engine. Without root, or without the program in question, they skip.
package compat
