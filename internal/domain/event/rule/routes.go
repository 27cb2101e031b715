package rule

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/berth-registry/berth/internal/domain/event/pattern"
	"github.com/berth-registry/berth/internal/domain/name"
	"github.com/berth-registry/berth/internal/infra/sqldb"
)

// RoutesTx returns the rules of an account and region that are in force and have
// targets, by their names. It asks the database one short question where nothing was
// changed since the last time. What it returns is shared and must not be changed.
func (s *Service) RoutesTx(ctx context.Context, tx *sqldb.Tx, account name.AccountID, region name.Region) ([]Route, error) {
	var revision int64
	err := tx.QueryRow(ctx, `SELECT revision FROM event_bus WHERE account_id = $1 AND region = $2`, string(account), string(region)).Scan(&revision)
	if errors.Is(err, sqldb.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	home := name.Registry{Account: account, Region: region}
	if routes, ok := s.routes.get(home, revision); ok {
		return routes, nil
	}
	// Read after the revision, so it is never older than that says: where another node
	// has changed something in between, the next question finds a new revision.
	routes, err := s.loadTx(ctx, tx, home)
	if err != nil {
		return nil, err
	}
	s.routes.put(home, revision, routes)
	return routes, nil
}

// loadTx reads the routes. A rule whose pattern cannot be read, which only another
// version of the program can have let in, is passed over and logged: the others go on.
func (s *Service) loadTx(ctx context.Context, tx *sqldb.Tx, home name.Registry) ([]Route, error) {
	type row struct {
		route  Route
		text   string
		target Target
	}
	rows, err := sqldb.Collect(ctx, tx, func(r sqldb.Scanner) (row, error) {
		var one row
		var of Settings
		var settings string
		if err := r.Scan(&one.route.RuleID, &one.route.RuleName, &one.text, &of.ID, &of.ARN, &settings); err != nil {
			return row{}, err
		}
		err := json.Unmarshal([]byte(settings), &of)
		one.target = of.target()
		return one, err
	}, `SELECT r.id, r.name, r.pattern, `+targetColumns+` FROM event_rule r JOIN event_target t ON t.rule_id = r.id
		WHERE r.account_id = $1 AND r.region = $2 AND r.state <> $3 ORDER BY r.name, t.id`,
		string(home.Account), string(home.Region), string(Disabled))
	if err != nil {
		return nil, err
	}
	var routes []Route
	unread := int64(0)
	for _, one := range rows {
		switch last := len(routes) - 1; {
		case last >= 0 && routes[last].RuleID == one.route.RuleID:
			routes[last].Targets = append(routes[last].Targets, one.target)
		case one.route.RuleID == unread:
		default:
			parsed, err := pattern.Parse(one.text)
			if err != nil {
				unread = one.route.RuleID
				s.Log.Error("a rule matches nothing, because its event pattern cannot be read; put the rule again", "rule", ARN(home, one.route.RuleName).String(), "error", err)
				continue
			}
			one.route.RuleARN, one.route.Pattern, one.route.Targets = ARN(home, one.route.RuleName).String(), parsed, []Target{one.target}
			routes = append(routes, one.route)
		}
	}
	return routes, nil
}

// TargetTx reads a target, of a disabled rule too: what has matched goes out. False
// when the target or its rule has gone.
func (s *Service) TargetTx(ctx context.Context, tx *sqldb.Tx, ruleID int64, targetID string) (Target, bool, error) {
	found, err := scanSettings(tx.QueryRow(ctx, `SELECT `+targetColumns+` FROM event_target t WHERE t.rule_id = $1 AND t.id = $2`, ruleID, targetID))
	if errors.Is(err, sqldb.ErrNoRows) {
		return Target{}, false, nil
	}
	return found.target(), err == nil, err
}

// maxCached bounds the registries whose routes are kept in memory. With MaxRules rules
// of some 2 KB each in all of them it is 600 MB, with the dozen that people have 24.
const maxCached = 1_000

// cache keeps routes by registry as long as the revision of the bus stands.
type cache struct {
	mu      sync.Mutex
	entries map[name.Registry]cached
}

type cached struct {
	revision int64
	routes   []Route
}

func (c *cache) get(home name.Registry, revision int64) ([]Route, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[home]
	return e.routes, ok && e.revision == revision
}

func (c *cache) put(home name.Registry, revision int64, routes []Route) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.entries[home]; !there && len(c.entries) >= maxCached {
		for k := range c.entries { // any one: the map's order is random
			delete(c.entries, k)
			break
		}
	}
	c.entries[home] = cached{revision, routes}
}
