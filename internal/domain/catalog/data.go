package catalog

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/domain/catalog/logo"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The limits of texts, in characters, and of lists (ECR Public API model).
const (
	MaxDisplayName = 100
	MaxDescription = 1024
	MaxText        = 25_600 // about and usage, each
	MaxNames       = 50     // architectures and operating systems, each
	MaxName        = 50     // of one of them
)

// DataInput is what is said of a repository.
type DataInput struct {
	Description string
	// About and Usage are GitHub Flavored Markdown, as it was written.
	About, Usage string
	// Architectures and OperatingSystems may be any words.
	Architectures, OperatingSystems []string
	// Logo is a PNG or a JPEG; nil or empty for none.
	Logo []byte
}

// Data is what was said of a repository.
type Data struct {
	Description, About, Usage       string
	Architectures, OperatingSystems []string
	Logo                            string // an id that Service.Logo knows, new with every logo; "" for none
	Set                             bool   // false: nothing was said yet
	UpdatedAt                       time.Time
}

// reorders says whether a character changes the order in which others are shown, so that a
// text can look like another one: the embeddings, overrides and isolates of Unicode's
// bidirectional algorithm. Its marks, which texts in Arabic and Hebrew need, do not.
func reorders(r rune) bool { return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 }

// check counts the characters of a text and looks for what must not be in one: controls,
// but for tabs and ends of lines where those may be, and with strict also what reorders.
func check(member, text string, most int, lines, strict bool) error {
	if utf8.RuneCountInString(text) > most {
		return errs.Parameter(member, "Member must have length less than or equal to "+strconv.Itoa(most))
	}
	for _, r := range text {
		switch {
		case lines && (r == '\n' || r == '\r' || r == '\t'):
		case unicode.IsControl(r):
			return errs.Parameter(member, fmt.Sprintf("Member must not have the control character %U; leave it out", r))
		case strict && reorders(r):
			return errs.Parameter(member, fmt.Sprintf("Member must not have the character %U, which changes the order of those around it; leave it out", r))
		}
	}
	if !utf8.ValidString(text) {
		return errs.Parameter(member, "Member must be text in UTF-8")
	}
	return nil
}

// checkLine checks a text of one line.
func checkLine(member, text string, most int) error { return check(member, text, most, false, true) }

// checkNames checks a list of architectures or operating systems.
func checkNames(member string, all []string) error {
	if len(all) > MaxNames {
		return errs.Parameter(member, "Member must have length less than or equal to "+strconv.Itoa(MaxNames))
	}
	for i, one := range all {
		at := member + "." + strconv.Itoa(i+1) + ".member"
		if one == "" {
			return errs.Parameter(at, "Member must have length greater than or equal to 1")
		}
		if err := checkLine(at, one, MaxName); err != nil {
			return err
		}
	}
	return nil
}

// Validate says what is wrong with the texts and lists, without a look at the logo:
// errs.InvalidParameter.
func (in DataInput) Validate() error {
	if err := check("description", in.Description, MaxDescription, true, true); err != nil {
		return err
	}
	if err := check("aboutText", in.About, MaxText, true, false); err != nil {
		return err
	}
	if err := check("usageText", in.Usage, MaxText, true, false); err != nil {
		return err
	}
	if err := checkNames("architectures", in.Architectures); err != nil {
		return err
	}
	return checkNames("operatingSystems", in.OperatingSystems)
}

// prepared is a DataInput that can be stored.
type prepared struct {
	DataInput
	architectures, operatingSystems string // JSON
	logo                            logo.Logo
}

// prepare checks what is to be said and reads the logo, before any transaction.
func (s *Service) prepare(ctx context.Context, in DataInput) (p prepared, err error) {
	if err := in.Validate(); err != nil {
		return p, err
	}
	p.DataInput = in
	if p.architectures, err = formatNames(in.Architectures); err != nil {
		return p, err
	}
	if p.operatingSystems, err = formatNames(in.OperatingSystems); err != nil {
		return p, err
	}
	if len(in.Logo) == 0 {
		return p, nil
	}
	select {
	case s.decoding <- struct{}{}:
	case <-ctx.Done():
		return p, ctx.Err()
	}
	defer func() { <-s.decoding }()
	p.logo, err = logo.Normalize(in.Logo)
	return p, err
}

// putTx stores what is said of a repository in place of all that was said before.
func (s *Service) putTx(ctx context.Context, tx *sqldb.Tx, repositoryID int64, p prepared) (Data, error) {
	now := s.Clock.Now().UTC().Truncate(time.Microsecond)
	d := Data{
		Description: p.Description, About: p.About, Usage: p.Usage, Architectures: slices.Clone(p.Architectures), OperatingSystems: slices.Clone(p.OperatingSystems),
		Set: true, UpdatedAt: now,
	}
	if _, err := tx.Exec(ctx, `DELETE FROM catalog_logo WHERE repository_id = $1`, repositoryID); err != nil {
		return Data{}, err
	}
	if p.logo.Body != nil {
		d.Logo = newLogoID()
		if _, err := tx.Exec(ctx, `INSERT INTO catalog_logo (id, repository_id, media_type, body, created_at) VALUES ($1, $2, $3, $4, $5)`,
			d.Logo, repositoryID, p.logo.MediaType, p.logo.Body, now.UnixMicro()); err != nil {
			return Data{}, err
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO catalog_data (repository_id, description, about, usage, architectures, operating_systems, logo, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (repository_id) DO UPDATE SET description = excluded.description, about = excluded.about, usage = excluded.usage,
			architectures = excluded.architectures, operating_systems = excluded.operating_systems, logo = excluded.logo, updated_at = excluded.updated_at`,
		repositoryID, d.Description, d.About, d.Usage, p.architectures, p.operatingSystems, d.Logo, now.UnixMicro())
	if err != nil {
		return Data{}, err
	}
	_, err = tx.Exec(ctx, `UPDATE catalog_entry SET changed_at = $2 WHERE repository_id = $1`, repositoryID, now.UnixMicro())
	return d, err
}

// logoIDBytes are random; in hexadecimal they are an id.
const logoIDBytes = 16

func newLogoID() string {
	raw := make([]byte, logoIDBytes)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the program instead
	return hex.EncodeToString(raw)
}

// CreateRepository makes a public repository, in one transaction with what is said of it
// (nil: nothing) and, with the first one of an account, the registry and its default alias.
// Tags can be moved in all public repositories, so c.Mutability may be left out. It fails
// as repository.Create and PutData do.
func (s *Service) CreateRepository(ctx context.Context, c repository.Create, in *DataInput) (made repository.Repository, d Data, err error) {
	if !c.Registry.IsPublic() {
		return made, d, fmt.Errorf("the registry %s is not public", c.Registry)
	}
	var p prepared
	if in != nil {
		if p, err = s.prepare(ctx, *in); err != nil {
			return made, d, err
		}
	}
	if c.Mutability.Setting == "" {
		c.Mutability.Setting = repository.Mutable
	}
	after := c.After
	c.After = func(ctx context.Context, tx *sqldb.Tx, made repository.Repository) (err error) {
		if err := s.EnsureTx(ctx, tx, c.Registry.Account); err != nil {
			return err
		}
		if in != nil {
			if d, err = s.putTx(ctx, tx, made.ID, p); err != nil {
				return err
			}
		}
		if after == nil {
			return nil
		}
		return after(ctx, tx, made)
	}
	if made, err = s.Repositories.Create(ctx, c); err != nil {
		return repository.Repository{}, Data{}, err
	}
	return made, d, nil
}

// PutData says something of a repository in place of all that was said before: what is
// left out is cleared, the logo too. A logo that is replaced is gone at once.
// errs.InvalidParameter, errs.RepositoryNotFound.
func (s *Service) PutData(ctx context.Context, reg name.Registry, repo name.Repository, in DataInput) (d Data, err error) {
	if _, err := s.Repositories.Get(ctx, reg, repo); err != nil { // before a logo is decoded for nothing
		return Data{}, err
	}
	p, err := s.prepare(ctx, in)
	if err != nil {
		return Data{}, err
	}
	err = s.update(ctx, func(tx *sqldb.Tx) error {
		r, err := s.Repositories.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		if r, err = s.Repositories.Lock(ctx, tx, r); err != nil {
			return err
		}
		d, err = s.putTx(ctx, tx, r.ID, p)
		return err
	})
	if err != nil {
		return Data{}, err
	}
	return d, nil
}

// Data reads what was said of a repository. errs.RepositoryNotFound, and
// errs.CatalogDataNotFound when nothing was said yet.
func (s *Service) Data(ctx context.Context, reg name.Registry, repo name.Repository) (d Data, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		r, err := s.Repositories.GetTx(ctx, tx, reg, repo)
		if err != nil {
			return err
		}
		var architectures, operatingSystems string
		var updated int64
		err = tx.QueryRow(ctx, `SELECT description, about, usage, architectures, operating_systems, logo, updated_at FROM catalog_data WHERE repository_id = $1`, r.ID).
			Scan(&d.Description, &d.About, &d.Usage, &architectures, &operatingSystems, &d.Logo, &updated)
		if errors.Is(err, sqldb.ErrNoRows) {
			return errs.New(errs.CatalogDataNotFound, "The catalog data for repository with name '%s' in registry with id '%s' does not exist", repo, reg.Account)
		}
		if err != nil {
			return err
		}
		d.Set, d.UpdatedAt = true, time.UnixMicro(updated).UTC()
		if d.Architectures, err = ParseNames(architectures); err != nil {
			return fmt.Errorf("the architectures of repository %s cannot be read: %w", repo, err)
		}
		if d.OperatingSystems, err = ParseNames(operatingSystems); err != nil {
			return fmt.Errorf("the operating systems of repository %s cannot be read: %w", repo, err)
		}
		return nil
	})
	if err != nil {
		return Data{}, err
	}
	return d, nil
}

func formatNames(all []string) (string, error) {
	text, err := json.Marshal(append([]string{}, all...)) // "[]" for none
	return string(text), err
}

// ParseNames reads the architectures or operating_systems of a row of catalog_data; nil
// for an empty list.
func ParseNames(text string) (all []string, err error) {
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// Logo reads a logo of a repository that is there. An id stands for the same bytes for
// ever. errs.CatalogDataNotFound for one that is not known, or not any more.
func (s *Service) Logo(ctx context.Context, id string) (mediaType string, body []byte, updated time.Time, err error) {
	notFound := errs.New(errs.CatalogDataNotFound, "There is no such logo")
	if raw, err := hex.DecodeString(id); err != nil || len(raw) != logoIDBytes {
		return "", nil, time.Time{}, notFound
	}
	var created int64
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		return tx.QueryRow(ctx, `SELECT l.media_type, l.body, l.created_at FROM catalog_logo l JOIN repository r ON r.id = l.repository_id
			WHERE l.id = $1 AND r.deleted_at = 0`, id).Scan(&mediaType, &body, &created)
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return "", nil, time.Time{}, notFound
	}
	return mediaType, body, time.UnixMicro(created).UTC(), err
}
