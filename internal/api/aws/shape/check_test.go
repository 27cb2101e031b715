package shape_test

import (
	"math"
	"testing"

	"github.com/berth-registry/berth/internal/api/aws/shape"
	"github.com/berth-registry/berth/internal/domain/errs"
)

func TestCheckWording(t *testing.T) {
	pattern := shape.NewPattern(`[0-9]{12}`, `[0-9]{12}`)
	const json = "Invalid parameter at '"
	for _, tt := range []struct {
		name  string
		check func(c *shape.Check)
		json  string
		query string
	}{
		{
			"absent", func(c *shape.Check) { c.Missing("roleArn") },
			json + "roleArn' failed to satisfy constraint: 'Member must not be null'",
			"1 validation error detected: Value null at 'roleArn' failed to satisfy constraint: Member must not be null",
		},
		{
			"too short", func(c *shape.Check) { c.Length("name", "é", 2, 5) },
			json + "name' failed to satisfy constraint: 'Member must have length greater than or equal to 2'",
			"1 validation error detected: Value 'é' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 2",
		},
		{
			"too long", func(c *shape.Check) { c.Length("name", "abcdef", 2, 5) },
			json + "name' failed to satisfy constraint: 'Member must have length less than or equal to 5'",
			"1 validation error detected: Value 'abcdef' at 'name' failed to satisfy constraint: Member must have length less than or equal to 5",
		},
		{
			"too small", func(c *shape.Check) { c.Least("maxResults", 0, 1) },
			json + "maxResults' failed to satisfy constraint: 'Member must have value greater than or equal to 1'",
			"1 validation error detected: Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1",
		},
		{
			"too large", func(c *shape.Check) { c.Most("maxResults", 1001, 1000) },
			json + "maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'",
			"1 validation error detected: Value '1001' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 1000",
		},
		{
			"a fraction too small", func(c *shape.Check) { c.LeastOf("value", -0.5, 0) },
			json + "value' failed to satisfy constraint: 'Member must have value greater than or equal to 0'",
			"1 validation error detected: Value '-0.5' at 'value' failed to satisfy constraint: Member must have value greater than or equal to 0",
		},
		{
			"a value of a map", func(c *shape.Check) { c.Value().Length("tags", "abc", 0, 2) },
			json + "tags' failed to satisfy constraint: 'Map value must satisfy constraint: [Member must have length less than or equal to 2]'",
			"1 validation error detected: Value 'abc' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 2]",
		},
		{
			"no number", func(c *shape.Check) { c.MostOf("value", math.NaN(), 1e10) },
			json + "value' failed to satisfy constraint: 'Member must have value less than or equal to 10000000000'",
			"1 validation error detected: Value 'NaN' at 'value' failed to satisfy constraint: Member must have value less than or equal to 10000000000",
		},
		{
			"pattern", func(c *shape.Check) { c.Pattern("id", "12", pattern) },
			json + "id' failed to satisfy constraint: 'Member must satisfy regular expression pattern: [0-9]{12}'",
			"1 validation error detected: Value '12' at 'id' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]{12}",
		},
		{
			"pattern in ECR's own words", func(c *shape.Check) { c.Own().Pattern("id", "12", pattern) },
			json + "id' failed to satisfy constraint: 'must satisfy regular expression '[0-9]{12}''",
			"1 validation error detected: Value '12' at 'id' failed to satisfy constraint: must satisfy regular expression '[0-9]{12}'",
		},
		{
			"length in ECR's own words", func(c *shape.Check) { c.Own().Length("repositoryName", "a", 2, 256) },
			json + "repositoryName' failed to satisfy constraint: 'must have length greater than or equal to 2'",
			"1 validation error detected: Value 'a' at 'repositoryName' failed to satisfy constraint: must have length greater than or equal to 2",
		},
		{
			"enum", func(c *shape.Check) { c.Enum("state", "ON", "A", "B") },
			json + "state' failed to satisfy constraint: 'Member must satisfy enum value set: [A, B]'",
			"1 validation error detected: Value 'ON' at 'state' failed to satisfy constraint: Member must satisfy enum value set: [A, B]",
		},
		{
			"element of a list", func(c *shape.Check) { c.Element().Pattern("registryIds", "1", pattern) },
			json + "registryIds' failed to satisfy constraint: 'Member must satisfy constraint: [Member must satisfy regular expression pattern: [0-9]{12}]'",
			"1 validation error detected: Value '1' at 'registryIds' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy regular expression pattern: [0-9]{12}]",
		},
		{
			"structure in a list in a structure", func(c *shape.Check) { c.In("configuration").Item("tags", 1).Missing("key") },
			json + "configuration.tags.2.member.key' failed to satisfy constraint: 'Member must not be null'",
			"1 validation error detected: Value null at 'configuration.tags.2.member.key' failed to satisfy constraint: Member must not be null",
		},
		{
			"two failures: JSON names the first, Query both",
			func(c *shape.Check) { c.Size("ids", 0, 1, -1); c.Missing("name") },
			json + "ids' failed to satisfy constraint: 'Member must have length greater than or equal to 1'",
			"2 validation errors detected: Value at 'ids' failed to satisfy constraint: Member must have length greater than or equal to 1; " +
				"Value null at 'name' failed to satisfy constraint: Member must not be null",
		},
		{
			"a hidden value",
			func(c *shape.Check) { c.Item("logins", 0).Length("password", "geheim", 8, -1); c.Hide("password") },
			json + "logins.1.member.password' failed to satisfy constraint: 'Member must have length greater than or equal to 8'",
			"1 validation error detected: Value at 'logins.1.member.password' failed to satisfy constraint: Member must have length greater than or equal to 8",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c shape.Check
			tt.check(&c)
			expect(t, c.JSON(), errs.InvalidParameter, tt.json)
			expect(t, c.Query(), errs.Validation, tt.query)
		})
	}
}

func expect(t *testing.T, err error, code errs.Code, message string) {
	t.Helper()
	if err == nil || err.Error() != message || !errs.Is(err, code) {
		t.Errorf("got  %v (code %v)\nwant %v (code %v)", err, errs.CodeOf(err), message, code)
	}
}

func TestCheckAccepts(t *testing.T) {
	var c shape.Check
	c.Length("a", "éé", 2, 2)
	c.Length("a", "", -1, 0)
	c.Size("b", 3, -1, -1)
	c.Least("c", 1, 1)
	c.Most("c", 1, 1)
	c.Enum("d", "B", "A", "B")
	c.Own().Pattern("e", "ab", shape.NewPattern("a|ab", "a|ab"))
	if err := c.JSON(); err != nil {
		t.Error(err)
	}
	if err := c.Query(); err != nil {
		t.Error(err)
	}
}

// A model's pattern means the whole value, also where it has alternatives or a
// value goes on after a line break.
func TestPatternIsAnchored(t *testing.T) {
	p := shape.NewPattern("a|b", "a|b")
	for s, want := range map[string]bool{"a": true, "b": true, "ab": false, "xa": false, "bx": false, "a\n": false, "": false} {
		if got := p.Matches(s); got != want {
			t.Errorf("Matches(%q) = %v, want %v", s, got, want)
		}
	}
}
