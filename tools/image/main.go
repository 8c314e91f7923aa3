// Copyright The phaseattr Authors
// SPDX-License-Identifier: Apache-2.0

// Command image writes an OCI image of a collector for several architectures, from
// scratch and without a daemon, as an archive, or pushes such an archive.
//
//	image -version 0.1.0 -out image.tar DIRECTORY
//
// The directory has a folder linux_ARCHITECTURE with the binary for each architecture.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is that of distroless images, too.
const user = 65532

func main() {
	version := flag.String("version", "0.1.0", "the version of the image")
	out := flag.String("out", "image.tar", "the archive")
	push := flag.String("push", "", "push the archive to this `reference` instead of writing it")
	flag.Parse()
	var err error
	switch {
	case *push != "":
		err = pushArchive(*out, *push)
	case flag.NArg() == 1:
		err = writeArchive(*out, *version, flag.Arg(0), os.Stdout)
	default:
		err = errors.New("exactly one directory is needed")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// writeArchive writes an archive of an image for each architecture, and lists its files.
func writeArchive(out, version, directory string, list io.Writer) error {
	binaries, err := filepath.Glob(filepath.Join(directory, "linux_*", "*"))
	if err != nil {
		return err
	}
	if len(binaries) == 0 {
		return fmt.Errorf("no linux_ARCHITECTURE/NAME in %s", directory)
	}
	var index v1.ImageIndex = empty.Index
	index = mutate.IndexMediaType(index, types.OCIImageIndex)
	for _, binary := range binaries {
		architecture := strings.TrimPrefix(filepath.Base(filepath.Dir(binary)), "linux_")
		var image v1.Image
		if image, err = newImage(binary, version, architecture); err != nil {
			return err
		}
		platform := &v1.Platform{OS: "linux", Architecture: architecture}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
		fmt.Fprintf(list, "linux/%s\n", architecture)
		err = listFiles(image, list)
		if err != nil {
			return err
		}
	}
	folder, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	err = path.AppendIndex(index)
	if err != nil {
		return err
	}
	file, err := os.Create(out) //nolint:gosec // the user chooses the file
	if err != nil {
		return err
	}
	archive := tar.NewWriter(file)
	return errors.Join(archive.AddFS(os.DirFS(folder)), archive.Close(), file.Close())
}

func newImage(binary, version, architecture string) (v1.Image, error) {
	layer, err := newLayer(binary)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, configOf(image, filepath.Base(binary), version, architecture))
}

func configOf(image v1.Image, title, version, architecture string) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%d", user, user),
		Entrypoint: []string{"/otelcol"},
		Env:        []string{"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: map[string]string{
			"org.opencontainers.image.title":       title,
			"org.opencontainers.image.description": "OpenTelemetry Collector that adds the training phase to telemetry",
			"org.opencontainers.image.source":      "https://github.com/phaseattr/phaseattr",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     version,
		},
	}
	return config
}

// newLayer returns the only layer: the binary, certificates of public authorities, and a
// directory that the user of the image can write.
func newLayer(binary string) (v1.Layer, error) {
	program, err := os.ReadFile(binary) //nolint:gosec // the user chooses the file
	if err != nil {
		return nil, err
	}
	var authorities bytes.Buffer
	for root := range bundle.Roots() {
		_ = pem.Encode(&authorities, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a buffer has no errors
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	for _, entry := range []struct {
		name  string
		mode  int64
		owner int
		data  []byte
	}{
		{"etc/", 0o755, 0, nil},
		{"etc/passwd", 0o644, 0, fmt.Appendf(nil, "nonroot:x:%d:%d:nonroot:/:/sbin/nologin\n", user, user)},
		{"etc/ssl/", 0o755, 0, nil},
		{"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, authorities.Bytes()},
		{"otelcol", 0o755, 0, program},
		{"tmp/", 0o1777, 0, nil},
		{"var/", 0o755, 0, nil},
		{"var/lib/", 0o755, 0, nil},
		{"var/lib/otelcol/", 0o700, user, nil},
	} {
		header := &tar.Header{Name: entry.name, Mode: entry.mode, Uid: entry.owner, Gid: entry.owner, Size: int64(len(entry.data)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(entry.name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write(entry.data); err != nil {
			return nil, err
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// listFiles prints the files of an image.
func listFiles(image v1.Image, list io.Writer) error {
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	fmt.Fprintf(list, "  user %s, entrypoint %v\n", config.Config.User, config.Config.Entrypoint)
	content := mutate.Extract(image)
	defer content.Close()
	for files := tar.NewReader(content); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(list, "  %v %5d %9d /%s\n", header.FileInfo().Mode(), header.Uid, header.Size, header.Name)
	}
}

// pushArchive pushes an archive to a registry, with the login of Docker.
func pushArchive(archive, reference string) error {
	to, err := name.ParseReference(reference)
	if err != nil {
		return err
	}
	index, err := readArchive(archive)
	if err != nil {
		return err
	}
	return remote.WriteIndex(to, index, remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// readArchive returns the index of all architectures in an archive.
func readArchive(archive string) (v1.ImageIndex, error) {
	folder, err := os.MkdirTemp("", "image")
	if err != nil {
		return nil, err
	}
	file, err := os.Open(archive) //nolint:gosec // the user chooses the file
	if err != nil {
		return nil, err
	}
	defer file.Close()
	err = extract(tar.NewReader(file), folder)
	if err != nil {
		return nil, err
	}
	top, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := top.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s has %d images", archive, len(manifest.Manifests))
	}
	return top.ImageIndex(manifest.Manifests[0].Digest)
}

func extract(files *tar.Reader, folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	defer root.Close()
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag == tar.TypeDir {
			err = root.MkdirAll(header.Name, 0o700)
			if err != nil {
				return err
			}
			continue
		}
		err = root.MkdirAll(filepath.Dir(header.Name), 0o700)
		if err != nil {
			return err
		}
		file, err := root.Create(header.Name)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, files)
		err = errors.Join(err, file.Close())
		if err != nil {
			return err
		}
	}
}
