package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// of names values: dir.Name is a constant, or the default that a field of a
// Config gets; file.py:NAME one of Python; *k and /s multiply and turn into
// seconds.
func of(values ...string) []string { return values }

// code knows the constants and defaults of the sources under root: the
// expressions behind them, by directory.
type code struct {
	root string
	dirs map[string]map[string]ast.Expr
}

// figure is the value of ref as a page shows it: verb n is a number, s a size, t
// a time.
func (c *code) figure(verb byte, ref string) (string, error) {
	v, err := c.value(ref)
	switch {
	case err != nil:
		return "", err
	case verb == 's':
		return size(v), nil
	case verb == 't':
		return span(time.Duration(v)), nil
	}
	return number(v), nil
}

func number(v int64) string {
	s := strconv.FormatInt(v, 10)
	if v < 10_000 {
		return s
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func size(v int64) string {
	for shift, unit := range map[int]string{30: "GiB", 20: "MiB", 10: "KiB"} {
		if v>>shift > 0 && v>>shift < 1024 && v%(1<<shift) == 0 {
			return fmt.Sprintf("%d %s", v>>shift, unit)
		}
	}
	return fmt.Sprintf("%d bytes", v)
}

func span(d time.Duration) string {
	switch {
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%g s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%g min", d.Minutes())
	}
	return fmt.Sprintf("%g h", d.Hours())
}

// value is that of dir.Name, of a file of Python, or of a product of two.
func (c *code) value(ref string) (int64, error) {
	if ref, ok := strings.CutSuffix(ref, "/s"); ok {
		v, err := c.value(ref)
		return v / int64(time.Second), err
	}
	if a, b, ok := strings.Cut(ref, "*"); ok {
		x, err := c.value(a)
		if err != nil {
			return 0, err
		}
		y, err := c.value(b)
		return x * y, err
	}
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil {
		return n, nil
	}
	if file, name, ok := strings.Cut(ref, ":"); ok {
		b, err := os.ReadFile(filepath.Join(c.root, file))
		if err != nil {
			return 0, err
		}
		m := regexp.MustCompile(`(?m)^` + name + ` = ([0-9 <]+?) *(#|$)`).FindSubmatch(b)
		if m == nil {
			return 0, fmt.Errorf("no %s", ref)
		}
		e, err := parser.ParseExpr(string(m[1]))
		if err != nil {
			return 0, err
		}
		return c.eval("", e)
	}
	dot := strings.LastIndexByte(ref, '.')
	return c.named(ref[:dot], ref[dot+1:])
}

func (c *code) named(dir, name string) (int64, error) {
	if c.dirs[dir] == nil {
		if err := c.load(dir); err != nil {
			return 0, err
		}
	}
	e, ok := c.dirs[dir][name]
	if !ok {
		return 0, fmt.Errorf("no %s in %s", name, dir)
	}
	return c.eval(dir, e)
}

// load finds the constants of a package and the defaults that it gives to
// fields: set(&c.Field, v), or c.Field = v in an if.
func (c *code) load(dir string) error {
	found := map[string]ast.Expr{}
	names, err := filepath.Glob(filepath.Join(c.root, dir, "*.go"))
	if err != nil {
		return err
	}
	if c.dirs == nil {
		c.dirs = map[string]map[string]ast.Expr{}
	}
	c.dirs[dir] = found
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						found[name.Name] = n.Values[i]
					}
				}
			case *ast.CallExpr:
				if len(n.Args) != 2 {
					return true
				}
				if at, ok := n.Args[0].(*ast.UnaryExpr); ok && at.Op == token.AND {
					if field, ok := at.X.(*ast.SelectorExpr); ok {
						found[field.Sel.Name] = n.Args[1]
					}
				}
			case *ast.IfStmt:
				for _, s := range n.Body.List {
					if a, ok := s.(*ast.AssignStmt); ok && len(a.Lhs) == 1 && a.Tok == token.ASSIGN {
						if field, ok := a.Lhs[0].(*ast.SelectorExpr); ok && found[field.Sel.Name] == nil {
							found[field.Sel.Name] = a.Rhs[0]
						}
					}
				}
			}
			return true
		})
	}
	return nil
}

func (c *code) eval(dir string, e ast.Expr) (int64, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strconv.ParseInt(e.Value, 0, 64)
	case *ast.ParenExpr:
		return c.eval(dir, e.X)
	case *ast.Ident:
		return c.named(dir, e.Name)
	case *ast.SelectorExpr:
		pkg := e.X.(*ast.Ident).Name
		if unit, ok := map[string]time.Duration{"Millisecond": time.Millisecond, "Second": time.Second, "Minute": time.Minute, "Hour": time.Hour}[e.Sel.Name]; ok && pkg == "time" {
			return int64(unit), nil
		}
		return c.named(pkg, e.Sel.Name)
	case *ast.BinaryExpr:
		x, err := c.eval(dir, e.X)
		if err != nil {
			return 0, err
		}
		y, err := c.eval(dir, e.Y)
		if err != nil {
			return 0, err
		}
		switch e.Op {
		case token.ADD:
			return x + y, nil
		case token.SUB:
			return x - y, nil
		case token.MUL:
			return x * y, nil
		case token.SHL:
			return x << y, nil
		}
	}
	return 0, fmt.Errorf("%s: it is not known how to reckon %T", dir, e)
}
