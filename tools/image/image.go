package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// options say what to build and where to write it.
type options struct {
	source, out, name, version, revision string
	platforms                            []string
	created                              time.Time
}

// programs are what the image has at its root.
var programs = []string{"coordinator", "raftctl", "worker"}

// nonRoot is the user of the image. It is a number, since a kubelet cannot tell
// of a name that it is not root.
const nonRoot = "65532:65532"

// build compiles the programs for every platform and writes the image. It
// returns the digest of the index, which is the same for the same sources.
func build(o options) (v1.Hash, error) {
	if err := o.checkName(); err != nil {
		return v1.Hash{}, err
	}
	work, err := os.MkdirTemp("", "folkmoot-image-")
	if err != nil {
		return v1.Hash{}, err
	}
	defer os.RemoveAll(work)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var images []v1.Image
	for _, p := range o.platforms {
		platform, err := v1.ParsePlatform(p)
		if err != nil || platform.OS == "" || platform.Architecture == "" {
			return v1.Hash{}, fmt.Errorf("platform %q: want os/arch", p)
		}
		img, err := o.image(filepath.Join(work, platform.Architecture), *platform)
		if err != nil {
			return v1.Hash{}, err
		}
		images = append(images, img)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: platform}})
	}
	return o.write(index, images)
}

// image returns the image of one platform, whose programs it compiles into bin.
func (o options) image(bin string, platform v1.Platform) (v1.Image, error) {
	if err := o.compile(bin, platform); err != nil {
		return nil, err
	}
	files, err := o.files(bin)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "tools/image"}}); err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: o.created}
	config.Config = v1.Config{
		User:         nonRoot,
		Entrypoint:   []string{"/coordinator"},
		Env:          []string{"PATH=/"},
		WorkingDir:   "/",
		ExposedPorts: map[string]struct{}{"7300/tcp": {}, "7370/tcp": {}, "7380/tcp": {}, "7390/tcp": {}},
		Labels:       o.labels(),
	}
	return mutate.ConfigFile(img, config)
}

func (o options) labels() map[string]string {
	labels := map[string]string{
		"org.opencontainers.image.title":    "folkmoot",
		"org.opencontainers.image.source":   "https://github.com/folkmoot/folkmoot",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.created":  o.created.Format(time.RFC3339),
	}
	if o.version != "" {
		labels["org.opencontainers.image.version"] = o.version
	}
	if o.revision != "" {
		labels["org.opencontainers.image.revision"] = o.revision
	}
	return labels
}

// compile builds the programs for one platform, static and without paths of
// this machine.
func (o options) compile(bin string, platform v1.Platform) error {
	flags := "-s -w"
	if o.version != "" {
		flags += " -X github.com/folkmoot/folkmoot/cmd/version.Release=" + o.version
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", bin + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = o.source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s for %s: %w\n%s", strings.Join(args, " "), platform, err, out)
	}
	return nil
}

// files is the one layer: the programs, a folder for temporary files and the
// names of the user, in alphabetical order and all of one time.
func (o options) files(bin string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, mode int64, content []byte) error {
		h := tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: o.created, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write(content)
		return err
	}
	type file struct {
		name    string
		mode    int64
		content []byte
	}
	all := []file{
		{"etc/", 0o755, nil},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")},
		{"tmp/", 0o1777, nil},
	}
	for _, p := range programs {
		b, err := os.ReadFile(filepath.Join(bin, p))
		if err != nil {
			return nil, err
		}
		all = append(all, file{p, 0o755, b})
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.name, b.name) })
	for _, f := range all {
		if err := add(f.name, f.mode, f.content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}
