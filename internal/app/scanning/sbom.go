package scanning

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/layer"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/domain/scan/inventory"
	"github.com/berth-registry/berth/internal/domain/scan/sbom"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// jobSBOM attaches the list of its packages to an image.
const jobSBOM = "scan.sbom"

// The media types of the lists, which are the artifact types of the referrers too.
const (
	cycloneDX = "application/vnd.cyclonedx+json"
	spdx      = "application/spdx+json"
)

// mediaTypeOf is the media type of a format of the configuration.
func mediaTypeOf(format string) string {
	if format == "spdx" {
		return spdx
	}
	return cycloneDX
}

// attach is the payload of jobSBOM.
type attach struct {
	Repository int64       `json:"repository,string"`
	Digest     name.Digest `json:"digest"`
}

// scanned has the lists attached of an image that was scanned, where the operator
// wants that.
func (s *Services) scanned(ctx context.Context, tx *sqldb.Tx, r repository.Repository, d name.Digest) error {
	if len(s.c.Settings.Scanning.SBOM) == 0 {
		return nil
	}
	return s.c.Jobs.Enqueue(ctx, tx, jobs.Job{Kind: jobSBOM, UniqueKey: fmt.Sprintf("%d %s", r.ID, d), Payload: attach{r.ID, d}})
}

// attachSBOM does jobSBOM. A list that is attached already, by whomever, stays.
func (s *Services) attachSBOM(ctx context.Context, t jobs.Task) error {
	var a attach
	if err := json.Unmarshal(t.Payload, &a); err != nil {
		return jobs.Permanent(err)
	}
	r, err := s.c.Repositories.Stored(ctx, a.Repository)
	if errs.Is(err, errs.RepositoryNotFound) || err == nil && !r.DeletedAt.IsZero() {
		return nil
	}
	if err != nil {
		return err
	}
	var lacking []string
	for _, format := range s.c.Settings.Scanning.SBOM {
		there, _, err := s.c.Images.Referrers(ctx, r, a.Digest, image.ReferrersQuery{ArtifactTypes: []string{mediaTypeOf(format)}, Status: image.AnyStatus, Limit: 1})
		if err != nil {
			return err
		}
		if len(there) == 0 {
			lacking = append(lacking, format)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	d, img, err := s.Scans.Inventory(ctx, r, image.Ref{Digest: a.Digest})
	if errs.Is(err, errs.ImageNotFound) || errs.Is(err, errs.ImageArchived) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, format := range lacking {
		text, err := s.document(format, s.subjectOf(r, d), img)
		if err == nil {
			err = s.refer(ctx, r, d, mediaTypeOf(format), text)
		}
		if errs.Is(err, errs.ImageNotFound) || errs.Is(err, errs.RepositoryNotFound) {
			return nil
		}
		if errs.Is(err, errs.LimitExceeded) {
			return jobs.Permanent(fmt.Errorf("the list of the packages of %s cannot be attached: %w", d.Digest, err))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// document writes the list of an image's packages.
func (s *Services) document(format string, subject sbom.Subject, img inventory.Image) ([]byte, error) {
	tool := "berth " + s.c.Version
	if format == "spdx" {
		return sbom.SPDX(subject, img, tool, subject.Created)
	}
	return sbom.CycloneDX(subject, img, tool, subject.Created)
}

func (s *Services) subjectOf(r repository.Repository, d image.Detail) sbom.Subject {
	return sbom.Subject{Host: s.c.Hosts.RegistryHost(r.Registry), Registry: r.Registry, Repository: r.Name, Digest: d.Digest, Tags: d.Tags, Created: d.PushedAt}
}

// descriptor is OCI's.
type descriptor struct {
	MediaType string      `json:"mediaType"`
	Digest    name.Digest `json:"digest"`
	Size      int         `json:"size"`
}

// refer pushes an artifact that refers to the image.
func (s *Services) refer(ctx context.Context, r repository.Repository, d image.Detail, artifactType string, content []byte) error {
	empty := []byte("{}")
	subject, err := s.c.Images.Peek(ctx, r, image.Ref{Digest: d.Digest}, nil)
	if err != nil {
		return err
	}
	m := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		ArtifactType  string       `json:"artifactType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
		Subject       descriptor   `json:"subject"`
	}{
		2, manifest.OCIImage, artifactType,
		descriptor{"application/vnd.oci.empty.v1+json", digestOf(empty), len(empty)},
		[]descriptor{{artifactType, digestOf(content), len(content)}},
		descriptor{subject.MediaType, subject.Stored, int(subject.ManifestSize)},
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := errors.Join(s.blob(ctx, r, empty), s.blob(ctx, r, content)); err != nil {
		return err
	}
	_, _, err = s.c.Images.Put(ctx, r, image.Put{Manifest: body, MediaType: manifest.OCIImage})
	return err
}

func digestOf(b []byte) name.Digest {
	sum := sha256.Sum256(b)
	return name.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// blob stores bytes as a layer of the repository.
func (s *Services) blob(ctx context.Context, r repository.Repository, content []byte) error {
	d := digestOf(content)
	_, err := s.c.Layers.Stat(ctx, r, d)
	if !errs.Is(err, errs.LayersNotFound) {
		return err
	}
	u, err := s.c.Layers.Start(ctx, r)
	if err != nil {
		return err
	}
	_, err = s.c.Layers.Complete(ctx, r, u.ID, []name.Digest{d}, layer.Unannounced(), bytes.NewReader(content), layer.CompleteOptions{})
	return err
}
