// Restpage writes docs/rest.md, the page of all REST requests, from the
// contract in openapi.yaml. With -check it only tells whether the page is stale.
//
//	go generate ./docs/restpage
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run . -root ../..

const (
	contractPath = "httpapi/openapi.yaml"
	pagePath     = "docs/rest.md"
)

func main() {
	root := flag.String("root", ".", "the root of the sources")
	check := flag.Bool("check", false, "write nothing: tell whether the page is stale")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var errStale = errors.New(pagePath + " is not what " + contractPath + " says: go generate ./docs/restpage")

func run(root string, check bool) error {
	b, err := os.ReadFile(filepath.Join(root, contractPath))
	if err != nil {
		return err
	}
	fresh, err := page(b)
	if err != nil {
		return fmt.Errorf("%s: %w", contractPath, err)
	}
	if !check {
		return os.WriteFile(filepath.Join(root, pagePath), []byte(fresh), 0o644)
	}
	old, err := os.ReadFile(filepath.Join(root, pagePath))
	if err == nil && string(old) != fresh {
		err = errStale
	}
	return err
}
