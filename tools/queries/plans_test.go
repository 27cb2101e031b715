package main

import (
	"encoding/json"
	"testing"
)

func parse(t *testing.T, text string) node {
	t.Helper()
	var n node
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPlans(t *testing.T) {
	for _, c := range []struct {
		plan, short, fault string
		written            float64
		locks              bool
	}{
		{`{"Node Type": "Limit", "Actual Rows": 1, "Actual Loops": 1, "Plans": [
			{"Node Type": "Nested Loop", "Actual Rows": 1, "Actual Loops": 1, "Plans": [
				{"Node Type": "Index Scan", "Index Name": "a_pkey", "Relation Name": "a", "Actual Rows": 3, "Actual Loops": 1},
				{"Node Type": "Index Only Scan", "Index Name": "b_pkey", "Relation Name": "b", "Actual Rows": 1, "Actual Loops": 3, "Rows Removed by Filter": 2}]}]}`,
			"Limit ← Nested Loop [Index Scan a_pkey (3); Index Only Scan b_pkey (3 of 9)]", "", 0, false},
		{`{"Node Type": "Seq Scan", "Relation Name": "large", "Actual Rows": 0, "Actual Loops": 1}`, "Seq Scan large (0)", "Seq Scan large", 0, false},
		{`{"Node Type": "Seq Scan", "Relation Name": "large", "Actual Rows": 0, "Actual Loops": 0}`, "Seq Scan large (not run)", "", 0, false},
		{`{"Node Type": "Seq Scan", "Relation Name": "small", "Actual Rows": 1, "Actual Loops": 1}`, "Seq Scan small (1)", "", 0, false},
		{`{"Node Type": "Sort", "Actual Rows": 10, "Actual Loops": 1, "Plans": [{"Node Type": "Index Scan", "Index Name": "x", "Actual Rows": 1002, "Actual Loops": 1}]}`,
			"Sort ← Index Scan x (1002)", "Sort of more than a page", 0, false},
		{`{"Node Type": "Index Scan", "Index Name": "x", "Actual Rows": 0, "Actual Loops": 1, "Rows Removed by Filter": 5000}`,
			"Index Scan x (0 of 5000)", "Index Scan x reads much that is not wanted", 0, false},
		{`{"Node Type": "ModifyTable", "Operation": "Insert", "Relation Name": "t", "Actual Rows": 0, "Actual Loops": 1, "Conflict Resolution": "NOTHING", "Tuples Inserted": 1, "Conflicting Tuples": 2,
			"Plans": [{"Node Type": "Values Scan", "Actual Rows": 3, "Actual Loops": 1}]}`, "Insert t", "", 1, false},
		{`{"Node Type": "LockRows", "Actual Rows": 1, "Actual Loops": 1, "Plans": [{"Node Type": "Index Scan", "Index Name": "x", "Actual Rows": 1, "Actual Loops": 1}]}`,
			"LockRows ← Index Scan x (1)", "", 0, true},
	} {
		n := parse(t, c.plan)
		if short, fault := n.short(), n.fault(map[string]bool{"large": true}); short != c.short || fault != c.fault || n.written() != c.written || n.locks() != c.locks {
			t.Errorf("%s: fault %q, %.0f rows written, locks %t; wanted %s: %q, %.0f, %t", short, fault, n.written(), n.locks(), c.short, c.fault, c.written, c.locks)
		}
	}
}

func TestNormalize(t *testing.T) {
	const sql = "SELECT a\n\t\tFROM t WHERE b = $1 AND c IN ($2, $3,$4)"
	if got, want := normalize(sql), "SELECT a FROM t WHERE b = $1 AND c IN ($…)"; got != want {
		t.Errorf("%s", got)
	}
}

// TestClasses makes sure that the first class that fits wins, and that foreign keys
// decide nothing.
func TestClasses(t *testing.T) {
	one := func(sql ...string) (t []statement) {
		for _, s := range sql {
			t = append(t, statement{sql: s})
		}
		return t
	}
	for want, tx := range map[string][]statement{
		"lifecycle: expire nine images": one("SELECT 1 FROM lifecycle_policy WHERE x", "DELETE FROM image WHERE id = $1", "INSERT INTO layer_review"),
		"audit: a batch of records":     one("INSERT INTO audit (id) VALUES ($1)"),
		other:                           append(one("SELECT 1 FROM repository"), statement{sql: "DELETE FROM audit", check: true}),
	} {
		if got := className(classOf(tx)); got != want {
			t.Errorf("%q, wanted %q", got, want)
		}
	}
}
