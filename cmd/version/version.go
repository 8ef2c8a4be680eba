// Package version says which build a program is of.
package version

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Number is the version that these sources are, or lead to. It is raised with
// the first change after a release.
const Number = "0.1.0"

// Release is set by the linker for a release:
// -ldflags "-X github.com/folkmoot/folkmoot/cmd/version.Release=v1.2.3".
var Release string

// Short is the release, else the module's version, else that of the sources
// with "-dev" behind it.
func Short() string {
	if Release != "" {
		return Release
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "v" + Number + "-dev"
}

// Line is what a program says of itself: its name, release, commit if the build
// knows it, Go version and platform.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s%s, %s/%s)", program, Short(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// commit is the start of the commit that was built, with "+" if there were
// changes beside it, or nothing if the build does not know.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+"
		}
	}
	if revision == "" {
		return ""
	}
	return "commit " + revision[:min(12, len(revision))] + changed + ", "
}
