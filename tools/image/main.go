// Command image builds the container image of the three programs as a tar file,
// without Docker and without a registry: an OCI image layout that is a docker
// save archive, too. The same sources give the same bytes.
//
//	go -C tools run ./image -o ../bin/folkmoot.tar
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func main() {
	var o options
	var platforms string
	flag.StringVar(&o.out, "o", "../bin/folkmoot.tar", "the tar file to write")
	flag.StringVar(&o.source, "source", "..", "folder of the module whose programs go in")
	flag.StringVar(&o.name, "name", "folkmoot:latest", "name and tag of the image")
	flag.StringVar(&o.version, "version", "", "release that the programs say they are (default: a development build)")
	flag.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "os/arch,...")
	flag.Parse()
	o.platforms = strings.Split(platforms, ",")
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	var err error
	if o.created, o.revision, err = commit(o.source); err != nil {
		return err
	}
	digest, err := build(o)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s for %s, digest %s\n", o.out, o.name, strings.Join(o.platforms, " and "), digest)
	return nil
}

// commit returns the time that all files of the image have, which is no clock's:
// SOURCE_DATE_EPOCH, else that of the newest commit, else 1970; and the commit.
func commit(source string) (created time.Time, revision string, err error) {
	created = time.Unix(0, 0).UTC()
	if out, err := exec.Command("git", "-C", source, "log", "-1", "--format=%ct %H").Output(); err == nil {
		seconds, hash, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
			created, revision = time.Unix(n, 0).UTC(), hash
		}
	}
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		n, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return created, "", fmt.Errorf("SOURCE_DATE_EPOCH=%q: want seconds since 1970", epoch)
		}
		created = time.Unix(n, 0).UTC()
	}
	return created, revision, nil
}
