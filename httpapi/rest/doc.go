// Package rest is the toolkit of the HTTP doors: a bounded server, strict
// reading of requests, and the answers, problems and streams that go back. It
// knows no resource and adds no route.
package rest
