// Package httpapi is the HTTP door: it translates REST, server-sent events and
// the operator's endpoints into calls of control, and answers back.
package httpapi
