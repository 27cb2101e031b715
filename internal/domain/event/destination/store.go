package destination

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

const columns = `id, account_id, region, name, kind, arn, settings, secret_names, version, created_at, changed_at`

func scan(row sqldb.Scanner) (Destination, error) {
	var d Destination
	var settings, names string
	var created, changed int64
	if err := row.Scan(&d.ID, &d.Home.Account, &d.Home.Region, &d.Name, &d.Kind, &d.ARN, &settings, &names, &d.Version, &created, &changed); err != nil {
		return Destination{}, err
	}
	d.Settings, d.CreatedAt, d.ChangedAt = json.RawMessage(settings), time.UnixMicro(created).UTC(), time.UnixMicro(changed).UTC()
	return d, json.Unmarshal([]byte(names), &d.SecretNames)
}

func insertTx(ctx context.Context, tx *sqldb.Tx, d Destination, held sealed) error {
	account, region := string(d.Home.Account), string(d.Home.Region)
	there, err := sqldb.One[int64](tx.QueryRow(ctx, `SELECT count(*) FROM account WHERE id = $1`, account))
	if err != nil {
		return err
	}
	if there == 0 {
		return invalid("There is no account %s.", account)
	}
	names, err := json.Marshal(d.SecretNames)
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `INSERT INTO event_destination (`+columns+`, data_key, sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING`,
		d.ID, account, region, d.Name, string(d.Kind), d.ARN, string(d.Settings), string(names), d.Version, d.CreatedAt.UnixMicro(), d.ChangedAt.UnixMicro(), held.dataKey, held.bytes)
	if err != nil {
		return err
	}
	if n == 0 {
		return invalid("The account %s has a destination with the name %s or the ARN %s in %s already. Delete it first, or take another name.", account, d.Name, d.ARN, region)
	}
	many, err := sqldb.One[int64](tx.QueryRow(ctx, `SELECT count(*) FROM event_destination WHERE account_id = $1 AND region = $2`, account, region))
	if err != nil {
		return err
	}
	if many > maxDestinations {
		return errs.New(errs.LimitExceeded, "The account %s has %d destinations in %s, which is as many as it can have.", account, maxDestinations, region)
	}
	return nil
}

// List lists destinations by account, region and name. "" for the account or the region
// is all.
func (s *Service) List(ctx context.Context, account name.AccountID, region name.Region) (all []Destination, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		all, err = sqldb.Collect(ctx, tx, scan, `SELECT `+columns+` FROM event_destination WHERE ($1 = '' OR account_id = $1) AND ($2 = '' OR region = $2) ORDER BY account_id, region, name`,
			string(account), string(region))
		return err
	})
	return all, err
}

// Describe finds a destination by its name or its ARN. errs.EventResourceNotFound.
func (s *Service) Describe(ctx context.Context, home name.Registry, ref string) (d Destination, err error) {
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		d, err = findTx(ctx, tx, home, ref)
		return err
	})
	return d, err
}

func findTx(ctx context.Context, tx *sqldb.Tx, home name.Registry, ref string) (Destination, error) {
	by := "name"
	if strings.HasPrefix(ref, "arn:") { // no name has a colon
		by = "arn"
	}
	d, err := scan(tx.QueryRow(ctx, `SELECT `+columns+` FROM event_destination WHERE account_id = $1 AND region = $2 AND `+by+` = $3`, string(home.Account), string(home.Region), ref))
	if errors.Is(err, sqldb.ErrNoRows) {
		err = missing(home, ref)
	}
	return d, err
}

func missing(home name.Registry, ref string) error {
	return errs.New(errs.EventResourceNotFound, "There is no destination %s for the account %s in %s. An operator makes one: berth events destination create.", ref, home.Account, home.Region)
}

// Known refuses ARNs that no destination of the account and region has.
// errs.EventResourceNotFound.
func (s *Service) Known(ctx context.Context, account name.AccountID, region name.Region, arn string) error {
	_, err := s.byARN(ctx, account, region, arn)
	return err
}

func (s *Service) byARN(ctx context.Context, account name.AccountID, region name.Region, arn string) (Destination, error) {
	home := name.Registry{Account: account, Region: region}
	if !strings.HasPrefix(arn, "arn:") {
		return Destination{}, missing(home, arn) // a name is no ARN
	}
	return s.Describe(ctx, home, arn)
}

// Open finds a destination by its ARN and opens its secrets.
// errs.EventResourceNotFound, errs.KeyFailure.
func (s *Service) Open(ctx context.Context, account name.AccountID, region name.Region, arn string) (o Opened, err error) {
	var held sealed
	err = s.DB.View(ctx, func(tx *sqldb.Tx) error {
		if o.Destination, err = findTx(ctx, tx, name.Registry{Account: account, Region: region}, arn); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `SELECT data_key, sealed FROM event_destination WHERE id = $1`, o.ID).Scan(&held.dataKey, &held.bytes)
	})
	if errors.Is(err, sqldb.ErrNoRows) { // removed between the two, on PostgreSQL
		err = missing(name.Registry{Account: account, Region: region}, arn)
	}
	if err != nil {
		return Opened{}, err
	}
	o.Secrets, err = s.unseal(ctx, o.Destination, held)
	return o, err
}

// Delete removes a destination by its name or its ARN, with force also one that rules
// send to; their events wait, and are dead in the end, unless it is made again.
// errs.EventResourceNotFound, errs.InvalidParameter for one in use.
func (s *Service) Delete(ctx context.Context, home name.Registry, ref string, force bool) (Destination, error) {
	d, err := s.Describe(ctx, home, ref)
	if err != nil {
		return Destination{}, err
	}
	if s.InUse != nil && !force {
		rules, err := s.InUse(ctx, home.Account, home.Region, d.ARN)
		if err != nil {
			return Destination{}, err
		}
		if len(rules) > 0 {
			return Destination{}, invalid("The destination %s is a target of the rules %s. Remove it from them first, or force its deletion.", d.Name, strings.Join(rules, ", "))
		}
	}
	err = s.DB.Update(ctx, func(tx *sqldb.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM event_destination WHERE id = $1`, d.ID)
		return err
	})
	return d, err
}
