package schema_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/schema"
)

// firstHeld is the first migration that the rule of the package comment holds
// for: those before it were released in one.
const firstHeld = 17

var (
	comment  = regexp.MustCompile(`--[^\n]*`)
	literal  = regexp.MustCompile(`'[^']*'`)
	contract = regexp.MustCompile(`(?m)^-- contract: \S`)
	subtract = regexp.MustCompile(`\b(DROP|RENAME|TRUNCATE)\b|\bALTER (COLUMN )?\w+ (SET DATA )?TYPE\b|\bSET NOT NULL\b|\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN)\b|\bDELETE FROM\b`)
	create   = regexp.MustCompile(`\bCREATE\b(?: /\*UNLOGGED\*/)?(?: UNLOGGED)? TABLE (?:IF NOT EXISTS )?(\w+)`)
	unique   = regexp.MustCompile(`\bCREATE UNIQUE INDEX (?:IF NOT EXISTS )?\w+ ON (\w+)`)
	column   = regexp.MustCompile(`\bALTER TABLE \w+ ADD (?:COLUMN )?(.*)`)
)

// takesAway lists what an older program could not live with in a migration.
func takesAway(sql string) []string {
	if contract.MatchString(sql) {
		return nil
	}
	sql = literal.ReplaceAllString(comment.ReplaceAllString(sql, ""), "''")
	made := map[string]bool{} // tables that no older program knows
	var found []string
	for statement := range strings.SplitSeq(sql, ";") {
		statement = strings.ToUpper(strings.Join(strings.Fields(statement), " "))
		if m := create.FindStringSubmatch(statement); m != nil {
			made[m[1]] = true
			continue
		}
		if m := subtract.FindString(statement); m != "" {
			found = append(found, m)
		}
		if m := unique.FindStringSubmatch(statement); m != nil && !made[m[1]] {
			found = append(found, "a unique index on a table that is there already")
		}
		if m := column.FindStringSubmatch(statement); m != nil && strings.Contains(m[1], "NOT NULL") && !strings.Contains(m[1], "DEFAULT") {
			found = append(found, "a column without a default that is not null")
		}
	}
	return found
}

func TestMigrationsOnlyAdd(t *testing.T) {
	for _, dir := range slices.Concat(schema.Durable(), schema.Volatile()) {
		names, err := fs.Glob(dir, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 {
			t.Error("a directory without migrations")
		}
		for _, name := range names {
			number, _, _ := strings.Cut(name, "_")
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Errorf("%s has no number in front", name)
			}
			text, err := fs.ReadFile(dir, name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "+goose Down") {
				t.Errorf("%s goes back; migrations go forward only", name)
			}
			if found := takesAway(string(text)); n >= firstHeld && found != nil {
				t.Errorf("%s has %q: older programs that still run cannot live with that. Only add; or, if no program that can still be running needs what goes, say so in a line: -- contract: <reason>", name, found)
			}
		}
	}
}

func TestWhatTakesAway(t *testing.T) {
	for sql, bad := range map[string]bool{
		"CREATE TABLE a (b BIGINT NOT NULL, c BIGINT NOT NULL DEFAULT 0);":         false,
		"CREATE TABLE a (b BIGINT NOT NULL); CREATE UNIQUE INDEX a_b ON a (b);":    false,
		"CREATE INDEX a_b ON a (b);":                                               false,
		"ALTER TABLE a ADD COLUMN b BIGINT NOT NULL\n  DEFAULT 0;":                 false,
		"ALTER TABLE a ADD COLUMN b btext;":                                        false,
		"-- drop the table\nCREATE INDEX a_b ON a (b);":                            false,
		"INSERT INTO a VALUES ('drop table');":                                     false,
		"-- contract: nobody has read it since 0.9\nALTER TABLE a DROP COLUMN b;":  false,
		"ALTER TABLE a ADD COLUMN b BIGINT NOT NULL;":                              true,
		"ALTER TABLE a ADD b BIGINT NOT NULL;":                                     true,
		"alter table a\n drop column b;":                                           true,
		"ALTER TABLE a RENAME TO b;":                                               true,
		"ALTER TABLE a RENAME COLUMN b TO c;":                                      true,
		"ALTER TABLE a ALTER COLUMN b TYPE btext;":                                 true,
		"ALTER TABLE a ALTER b SET NOT NULL;":                                      true,
		"ALTER TABLE a ADD CONSTRAINT c CHECK (b > 0);":                            true,
		"CREATE UNIQUE INDEX a_b ON a (b);":                                        true,
		"-- contract:\nDROP TABLE a;":                                              true,
		"DROP INDEX a_b;":                                                          true,
		"CREATE TABLE b (c BIGINT); INSERT INTO b SELECT c FROM a; DELETE FROM a;": true,
	} {
		if found := takesAway(sql); (found != nil) != bad {
			t.Errorf("%s\n%q", sql, found)
		}
	}
}
