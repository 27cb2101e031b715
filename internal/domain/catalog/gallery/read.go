package gallery

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/berth-registry/berth/internal/domain/catalog"
	"github.com/berth-registry/berth/internal/domain/catalog/search"
	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/domain/repository"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// The columns that scanRepository reads: texts stands for those of about and usage.
const (
	columnsBefore = `SELECT r.id, r.account_id, r.name, r.images, r.created_at, e.pushed_at, e.downloads, p.display_name, p.verified, COALESCE(a.alias, ''),
		COALESCE(d.updated_at, -1), COALESCE(d.description, ''), COALESCE(d.architectures, ''), COALESCE(d.operating_systems, ''), COALESCE(d.logo, ''), `
	longTexts   = `COALESCE(d.about, ''), COALESCE(d.usage, '')`
	noTexts     = `'', ''`
	columnsFrom = ` FROM repository r JOIN catalog_entry e ON e.repository_id = r.id JOIN public_registry p ON p.account_id = r.account_id
		LEFT JOIN public_alias a ON a.account_id = r.account_id AND a.is_primary AND a.status = 'ACTIVE'
		LEFT JOIN catalog_data d ON d.repository_id = r.id`

	repositoriesByID = columnsBefore + noTexts + columnsFrom + ` WHERE r.deleted_at = 0 AND r.images > 0 AND r.id IN `
	repositoryByName = columnsBefore + longTexts + columnsFrom + ` WHERE r.deleted_at = 0 AND r.images > 0 AND r.account_id = $1 AND r.region = $2 AND r.name = $3`
)

func scanRepository(row sqldb.Scanner) (r Repository, err error) {
	var created, pushed, updated int64
	var architectures, systems string
	err = row.Scan(&r.ID, &r.Account, &r.Name, &r.Images, &created, &pushed, &r.Downloads, &r.DisplayName, &r.Verified, &r.Alias,
		&updated, &r.Data.Description, &architectures, &systems, &r.Data.Logo, &r.Data.About, &r.Data.Usage)
	if err != nil {
		return Repository{}, err
	}
	r.CreatedAt, r.PushedAt = time.UnixMicro(created), time.UnixMicro(pushed)
	if updated < 0 {
		return r, nil
	}
	r.Data.Set, r.Data.UpdatedAt = true, time.UnixMicro(updated)
	if r.Data.Architectures, err = catalog.ParseNames(architectures); err != nil {
		return Repository{}, err
	}
	r.Data.OperatingSystems, err = catalog.ParseNames(systems)
	return r, err
}

// Repository reads a repository of the public registry that has the active alias.
// errs.RegistryNotFound, and errs.RepositoryNotFound for one that is not there or has no
// image.
func (s *Service) Repository(ctx context.Context, alias string, repo name.Repository) (Repository, error) {
	account, err := s.Catalog.Resolve(ctx, alias)
	if err != nil {
		return Repository{}, err
	}
	notFound := repository.NotFound(name.PublicRegistry(account), repo)
	if _, err := name.ParseRepository(string(repo)); err != nil {
		return Repository{}, notFound
	}
	var r Repository
	err = s.DB.View(ctx, func(tx *sqldb.Tx) (err error) {
		r, err = scanRepository(tx.QueryRow(ctx, repositoryByName, string(account), string(name.Public), string(repo)))
		return err
	})
	if errors.Is(err, sqldb.ErrNoRows) {
		return Repository{}, notFound
	}
	return r, err
}

// Publisher reads the public registry that has the active alias. errs.RegistryNotFound.
func (s *Service) Publisher(ctx context.Context, alias string) (Publisher, error) {
	account, err := s.Catalog.Resolve(ctx, alias)
	if err != nil {
		return Publisher{}, err
	}
	reg, err := s.Catalog.Registry(ctx, account)
	if err != nil {
		return Publisher{}, err
	}
	p := Publisher{Account: account, Alias: reg.Primary(), DisplayName: reg.DisplayName, Verified: reg.Verified}
	for _, a := range reg.Aliases {
		if a.Status == catalog.Active {
			p.Aliases = append(p.Aliases, a.Name)
		}
	}
	return p, nil
}

// byID reads the rows of a page; those that are gone, or not to be shown, are missing.
func (s *Service) byID(ctx context.Context, ids []int64) (map[int64]Repository, error) {
	found := make(map[int64]Repository, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	args := make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	err := s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err := sqldb.Collect(ctx, tx, scanRepository, repositoriesByID+sqldb.In(1, len(ids)), args...)
		for _, r := range all {
			if r.Alias != "" { // without one it has no address
				found[r.ID] = r
			}
		}
		return err
	})
	return found, err
}

// check refuses a query outside the limits.
func (q Query) check() error {
	switch {
	case q.Limit < 1 || q.Limit > MaxLimit:
		return errs.Parameter("limit", "must be from 1 to "+strconv.Itoa(MaxLimit))
	case q.Offset < 0 || q.Offset > MaxOffset:
		return errs.Parameter("offset", "must be from 0 to "+strconv.Itoa(MaxOffset)+"; narrow the search instead")
	}
	switch q.Sort {
	case Relevance, Popular, Updated, Name:
		return nil
	}
	return errs.Parameter("sort", "must be one of popular, updated and name, or empty")
}

// order is the sort in the index's terms.
func (o Sort) order() search.Sort {
	switch o {
	case Popular:
		return search.Popular
	case Updated:
		return search.Updated
	case Name:
		return search.Name
	case Relevance:
	}
	return search.Relevance
}

// looks is how often a page is looked for whose repositories are found gone meanwhile.
const looks = 3

// Search finds repositories. It shows what was committed on this node before the call, and
// what was on other nodes some two seconds before. errs.InvalidParameter.
func (s *Service) Search(ctx context.Context, q Query) (Result, error) {
	if err := q.check(); err != nil {
		return Result{}, err
	}
	if err := s.upToDate(ctx); err != nil {
		return Result{}, err
	}
	asked := search.Query{
		Text: q.Text, Account: string(q.Account), Verified: q.Verified, OperatingSystems: q.OperatingSystems, Architectures: q.Architectures,
		Sort: q.Sort.order(), Offset: q.Offset, Limit: q.Limit,
	}
	for look := 1; ; look++ {
		hits := s.index.Search(asked)
		rows, whole, err := s.rows(ctx, hits.IDs)
		if err != nil {
			return Result{}, err
		}
		if whole || look == looks {
			return Result{
				Repositories: inOrder(hits.IDs, rows), Total: hits.Total, Verified: hits.Verified,
				OperatingSystems: facets(search.OperatingSystems(), hits.OperatingSystems), Architectures: facets(search.Architectures(), hits.Architectures),
			}, nil
		}
	}
}

func facets(values []string, counts []int) []Facet {
	all := make([]Facet, len(values))
	for i, v := range values {
		all[i] = Facet{Value: v, Count: counts[i]}
	}
	return all
}

// rows reads the repositories of a page. Those that are not there any more leave the index;
// then the page is not whole.
func (s *Service) rows(ctx context.Context, ids []int64) (rows map[int64]Repository, whole bool, err error) {
	rows, err = s.byID(ctx, ids)
	if err != nil {
		return nil, false, err
	}
	var gone []int64
	for _, id := range ids {
		if _, ok := rows[id]; !ok {
			gone = append(gone, id)
		}
	}
	return rows, len(gone) == 0, s.forget(ctx, gone)
}

// inOrder are the rows that there are, in the order of their ids.
func inOrder(ids []int64, rows map[int64]Repository) (page []Repository) {
	for _, id := range ids {
		if r, ok := rows[id]; ok {
			page = append(page, r)
		}
	}
	return page
}

// forget takes what was found gone out of the index. It may be back already, with a change
// that was read into the index since: then it stays.
func (s *Service) forget(ctx context.Context, gone []int64) error {
	if len(gone) == 0 {
		return nil
	}
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	back, err := s.byID(ctx, gone)
	if err != nil {
		return err
	}
	var remove []int64
	for _, id := range gone {
		if _, ok := back[id]; !ok {
			remove = append(remove, id)
		}
	}
	return s.index.Apply(nil, remove)
}

// Home is what the first page shows: the repositories with the most downloads, those that an
// image came to last, up to HomeSize of each, and how many there are in all.
func (s *Service) Home(ctx context.Context) (popular, updated []Repository, total int, err error) {
	if err := s.upToDate(ctx); err != nil {
		return nil, nil, 0, err
	}
	for look := 1; ; look++ {
		first := s.index.Search(search.Query{Sort: search.Popular, Limit: HomeSize})
		second := s.index.Search(search.Query{Sort: search.Updated, Limit: HomeSize})
		rows, whole, err := s.rows(ctx, slices.Concat(first.IDs, second.IDs))
		if err != nil {
			return nil, nil, 0, err
		}
		if whole || look == looks {
			return inOrder(first.IDs, rows), inOrder(second.IDs, rows), second.Total, nil
		}
	}
}
