package rest

import "github.com/folkmoot/folkmoot/control"

// Scope is where a request names the namespaces that its right is needed in.
type Scope string

// The scopes.
const (
	ScopePath    Scope = "path"    // the path names it: whoever may not is told so, whatever there is
	ScopeBody    Scope = "body"    // the body names it
	ScopeRow     Scope = "row"     // only the row knows it: to whoever may not, there is no such row
	ScopeRows    Scope = "rows"    // each row has its own; those that may not be read are left out
	ScopeSession Scope = "session" // each frame of the session is judged as the request that it stands for
	ScopeNone    Scope = "none"    // the right has no namespace
)

// RightEvents stands for the rights of a route whose rows need those of what they are
// about.
const RightEvents control.Right = "events"
