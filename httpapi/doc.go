// Package httpapi is the HTTP door: it translates the requests of each resource
// under /v1 into calls of control. How requests are read and answered is in rest;
// the operator's port is in ops.
package httpapi
