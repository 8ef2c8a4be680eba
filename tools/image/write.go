package main

import (
	"archive/tar"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// dockerManifest is the file manifest.json of a docker save archive.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// split returns the name and the tag of the image; a colon before a / is a port's.
func (o options) split() (name, tag string) {
	at := strings.LastIndexByte(o.name, ':')
	if at < 0 || strings.Contains(o.name[at:], "/") {
		return o.name, ""
	}
	return o.name[:at], o.name[at+1:]
}

func (o options) checkName() error {
	if name, tag := o.split(); name == "" || tag == "" {
		return fmt.Errorf("name %q: want name:tag", o.name)
	}
	return nil
}

// write writes index as a tar file: index.json is for what knows OCI layouts
// (containerd, kind, skopeo, crane, newer Docker), manifest.json, with the first
// platform alone, for docker load.
func (o options) write(index v1.ImageIndex, images []v1.Image) (v1.Hash, error) {
	digest, err := index.Digest()
	if err != nil {
		return digest, err
	}
	name, tag := o.split()
	whole := o.name
	if !strings.Contains(name, "/") {
		whole = "docker.io/library/" + o.name
	}
	top := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: index,
		Descriptor: v1.Descriptor{Annotations: map[string]string{
			"io.containerd.image.name":          whole,
			"org.opencontainers.image.ref.name": tag,
		}},
	})
	dir, err := os.MkdirTemp("", "folkmoot-layout-")
	if err != nil {
		return digest, err
	}
	defer os.RemoveAll(dir)
	if _, err := layout.Write(dir, top); err != nil {
		return digest, err
	}
	manifest, err := o.docker(images[0])
	if err != nil {
		return digest, err
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o600); err != nil {
		return digest, err
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return digest, err
	}
	return digest, o.pack(dir)
}

func (o options) docker(img v1.Image) ([]byte, error) {
	config, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	m := dockerManifest{Config: blob(config), RepoTags: []string{o.name}}
	for _, l := range layers {
		h, err := l.Digest()
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, blob(h))
	}
	return json.Marshal([]dockerManifest{m})
}

// pack writes the files of dir, in alphabetical order, to the tar file. A file
// that was there is replaced once all is written.
func (o options) pack(dir string) (err error) {
	partial, err := os.CreateTemp(filepath.Dir(o.out), filepath.Base(o.out)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err = cmp.Or(err, partial.Close()); err == nil {
			err = errors.Join(os.Chmod(partial.Name(), 0o644), os.Rename(partial.Name(), o.out))
		}
		if err != nil {
			os.Remove(partial.Name())
		}
	}()
	var names []string
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, path)
		}
		return err
	}); err != nil {
		return err
	}
	slices.Sort(names)
	w := tar.NewWriter(partial)
	for _, path := range names {
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := o.packFile(w, path, filepath.ToSlash(name)); err != nil {
			return err
		}
	}
	return w.Close()
}

func (o options) packFile(w *tar.Writer, path, name string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := tar.Header{Name: name, Mode: 0o644, Size: info.Size(), ModTime: o.created, Typeflag: tar.TypeReg}
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
