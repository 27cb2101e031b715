package match

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	dbtypes "github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"

	"github.com/berth-registry/berth/internal/domain/scan/finding"
)

// details are what the database knows of vulnerabilities, in the order of their ids. One
// that it does not know (it was rejected, say) is left zero.
func details(ctx context.Context, b *bolt.DB, ids []string) ([]dbtypes.Vulnerability, error) {
	out := make([]dbtypes.Vulnerability, len(ids))
	err := b.View(func(tx *bolt.Tx) error {
		all := tx.Bucket([]byte(vulnerabilitiesBucket))
		if all == nil {
			return nil
		}
		for i, id := range ids {
			if err := ctx.Err(); err != nil {
				return err
			}
			v := all.Get([]byte(id))
			if v == nil {
				continue
			}
			if err := json.Unmarshal(v, &out[i]); err != nil {
				return &damaged{fmt.Sprintf("vulnerability %s: %v", id, err)}
			}
		}
		return nil
	})
	return out, err
}

func vulnerability(id string, d dbtypes.Vulnerability) finding.Vulnerability {
	v := finding.Vulnerability{ID: id, Title: d.Title, Description: d.Description, References: d.References, CWEs: d.CweIDs}
	if d.PublishedDate != nil {
		v.Published = d.PublishedDate.UTC().Truncate(time.Second)
	}
	if d.LastModifiedDate != nil {
		v.Modified = d.LastModifiedDate.UTC().Truncate(time.Second)
	}
	for _, src := range slices.Sorted(maps.Keys(d.CVSS)) {
		c := d.CVSS[src]
		for _, s := range []struct {
			vector, version string
			score           float64
		}{{c.V2Vector, "2.0", c.V2Score}, {c.V3Vector, "3.0", c.V3Score}, {c.V40Vector, "4.0", c.V40Score}} {
			if s.vector == "" && s.score == 0 {
				continue
			}
			if said, _, ok := strings.Cut(strings.TrimPrefix(s.vector, "CVSS:"), "/"); ok && strings.HasPrefix(s.vector, "CVSS:") {
				s.version = said
			}
			v.CVSS = append(v.CVSS, finding.CVSS{Source: sourceName(src), Version: s.version, Vector: s.vector, Score: s.score})
		}
	}
	return v
}
