package integration_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judging are the packages that tell by time who lives. Only the monotonic clock
// may do that: the wall clock is stepped, by an hour now and then.
var judging = []string{
	"wire/awake", "wire/flow", "wire/trywrite", "registry/lease", "raftnode", "raftnode/member", "raftnode/peer", "router", "router/link", "router/route",
	"fsm/propose", "control", "control/home", "control/directory", "control/work", "control/cluster", "control/methods",
	"gateway/session", "gateway/tcp", "gateway/ws", "gateway/zmtp", "gateway/leco", "httpapi", "httpapi/rest", "client", "client/worker",
}

// wallTimes are the functions and methods that make a number of the wall clock's
// time, or a time without the monotonic clock: what lies between two of them is
// no duration. Round is one if it is given 0.
var wallTimes = []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "UTC", "Local", "In", "Truncate", "AddDate"}

// judgesNothing are the files that use the wall clock all the same: how often, and
// what for.
var judgesNothing = map[string]struct {
	uses int
	why  string
}{
	"raftnode/member/superseded.go": {1, "a name that sorts by date"},
	"raftnode/peer/dial.go":         {1, "a deadline that is over, whatever the clock says"},
	"router/route/table.go":         {1, "a number above those of the process before"},
	"router/route/epoch.go":         {1, "the same"},
	"client/link.go":                {1, "a UUID of version 7 begins with the date"},
	"control/authenticator.go":      {1, "the date at which a token expired, as text"},
	"control/jointoken.go":          {1, "the same of a join token"},
	"control/uses.go":               {3, "the hour in which a token was used last, for people"},
}

// wallClock lists the uses of the wall clock in a file.
func wallClock(fset *token.FileSet, f *ast.File) (found []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		strips := slices.Contains(wallTimes, sel.Sel.Name)
		if sel.Sel.Name == "Round" && len(call.Args) == 1 {
			zero, ok := call.Args[0].(*ast.BasicLit)
			strips = ok && zero.Value == "0"
		}
		if strips {
			found = append(found, fmt.Sprintf("%s: %s: the wall clock must not judge who lives", fset.Position(call.Pos()), sel.Sel.Name))
		}
		return true
	})
	return found
}

// A step of the wall clock ends nobody's connection, name or lease: whoever
// judges by time does it with times that carry the monotonic clock.
func TestTheWallClockJudgesNobody(t *testing.T) {
	for _, p := range packages(t) {
		dir := strings.TrimPrefix(p.ImportPath, module)
		if !slices.Contains(judging, dir) {
			continue
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			found := wallClock(fset, f)
			if excused, ok := judgesNothing[dir+"/"+name]; ok {
				if len(found) != excused.uses {
					t.Errorf("%s/%s: %d uses of the wall clock, %d are excused: %q", dir, name, len(found), excused.uses, found)
				}
				continue
			}
			for _, use := range found {
				t.Error(use)
			}
		}
	}
	for body, want := range map[string]int{
		"heard.Store(time.Now().UnixNano())":                      1,
		"_ = time.Since(time.Unix(0, heard.Load())) > silence":    1,
		"_ = now.Round(0).Sub(then.UTC()) > silence":              2,
		"_ = time.Since(then).Round(time.Millisecond)":            0,
		"_ = time.Since(then) > silence || time.Until(then) <= 0": 0,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "planted.go", "package planted\nfunc f() { "+body+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if found := wallClock(fset, f); len(found) != want {
			t.Errorf("%s: found %q, want %d uses", body, found, want)
		}
	}
}
