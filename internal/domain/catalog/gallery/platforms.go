package gallery

import (
	"context"
	"encoding/json"
	"io"
	"slices"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/image"
	"github.com/berth-registry/berth/internal/domain/image/manifest"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/jobs"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// JobPlatforms finds out what one image runs on, and writes it to catalog_platform.
const JobPlatforms = "catalog.platforms"

// order is the payload of JobPlatforms.
type order struct {
	Repository int64       `json:"repository,string"`
	Digest     name.Digest `json:"digest"`
}

const (
	// tries is how often JobPlatforms is attempted; what it makes is an ornament.
	tries = 6
	// maxConfig bounds the configuration of an image that is read. Real ones have some
	// kilobytes.
	maxConfig = 4 << 20
	// maxPlatforms bounds what is kept of one image.
	maxPlatforms = 100
	// maxPart bounds each part of a platform's name.
	maxPart = 32
)

// The media types of configurations that say a platform.
const (
	dockerConfig = "application/vnd.docker.container.image.v1+json"
	ociConfig    = "application/vnd.oci.image.config.v1+json"
)

// platform is one as configurations and indexes write it.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// text is the platform as it is shown, "" for one that says nothing: attestations have
// unknown/unknown. Whoever pushed the image wrote it, so that it may be anything.
func (p platform) text() string {
	if !plain(p.OS) || !plain(p.Architecture) || p.OS == "unknown" || p.Architecture == "unknown" {
		return ""
	}
	text := p.OS + "/" + p.Architecture
	if plain(p.Variant) {
		text += "/" + p.Variant
	}
	return text
}

// plain says whether a part of a platform consists of what such parts consist of.
func plain(part string) bool {
	if part == "" || len(part) > maxPart {
		return false
	}
	for _, c := range []byte(part) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// findPlatforms is the job. An image that is gone, or that says nothing that can be read, is
// no failure.
func (s *Service) findPlatforms(ctx context.Context, t jobs.Task) error {
	var o order
	if err := json.Unmarshal(t.Payload, &o); err != nil {
		return jobs.Permanent(err)
	}
	r, err := s.Repositories.Stored(ctx, o.Repository)
	if errs.Is(err, errs.RepositoryNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	found, err := s.platformsOf(ctx, r, o.Digest, true)
	if errs.Is(err, errs.ImageNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	texts := []string{}
	for _, p := range found {
		if text := p.text(); text != "" {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	encoded, err := json.Marshal(texts[:min(len(texts), maxPlatforms)])
	if err != nil {
		return err
	}
	return s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		// An image that is gone is passed over, and none goes meanwhile.
		_, err := tx.Exec(ctx, `INSERT INTO catalog_platform (repository_id, digest, platforms) SELECT i.repository_id, i.digest, CAST($3 AS btext) FROM image i
			WHERE i.repository_id = $1 AND i.digest = $2`+tx.ForShare()+` ON CONFLICT (repository_id, digest) DO UPDATE SET platforms = excluded.platforms`,
			r.ID, string(o.Digest), string(encoded))
		return err
	})
}

// platformsOf finds what an image runs on; with children, what those of an index say that
// has not said it for them. errs.ImageNotFound.
func (s *Service) platformsOf(ctx context.Context, r repository.Repository, d name.Digest, children bool) ([]platform, error) {
	img, err := s.Images.Peek(ctx, r, image.Ref{Digest: d}, nil)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(img.Manifest, img.MediaType, manifest.Limits{})
	if err != nil {
		return nil, err // it was parsed when it was pushed
	}
	switch m.Kind {
	case manifest.KindIndex:
		if !children {
			return nil, nil
		}
		return s.platformsOfIndex(ctx, r, m)
	case manifest.KindSchema1:
		var p platform
		if json.Unmarshal(m.Canonical, &p) != nil {
			return nil, nil
		}
		p.OS, p.Variant = "linux", "" // the only one of its time, which it does not say
		return []platform{p}, nil
	case manifest.KindImage:
	}
	if m.Config.MediaType != dockerConfig && m.Config.MediaType != ociConfig {
		return nil, nil
	}
	return s.readConfig(ctx, r, m.Config)
}

func (s *Service) platformsOfIndex(ctx context.Context, r repository.Repository, m manifest.Manifest) (all []platform, err error) {
	var index struct {
		Manifests []struct {
			Digest   name.Digest `json:"digest"`
			Platform *platform   `json:"platform"`
		} `json:"manifests"`
	}
	if json.Unmarshal(m.Canonical, &index) != nil {
		return nil, nil
	}
	looked := 0
	for _, child := range index.Manifests {
		if child.Platform != nil {
			all = append(all, *child.Platform)
			continue
		}
		if looked++; looked > maxPlatforms {
			continue
		}
		own, err := s.platformsOf(ctx, r, child.Digest, false)
		if err != nil && !errs.Is(err, errs.ImageNotFound) { // a sparse index has children that are not here
			return nil, err
		}
		all = append(all, own...)
	}
	return all, nil
}

// readConfig reads the platform that an image's configuration says; none where it says none
// or is not there.
func (s *Service) readConfig(ctx context.Context, r repository.Repository, config manifest.Descriptor) (found []platform, err error) {
	if config.Size > maxConfig {
		return nil, nil
	}
	body, _, err := s.Layers.Open(ctx, r, config.Digest, 0, -1)
	if errs.Is(err, errs.LayersNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := body.Close(); err == nil {
			err = closeErr
		}
	}()
	content, err := io.ReadAll(io.LimitReader(body, maxConfig+1))
	if err != nil {
		return nil, err
	}
	var p platform
	if len(content) > maxConfig || json.Unmarshal(content, &p) != nil {
		return nil, nil
	}
	return []platform{p}, nil
}
