package entity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/principal/entity"
)

func TestAttachments(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		top, deep, other := w.managed(mine, "Top"), w.managed(mine, "team/red/deep"), w.managed(theirs, "Top")
		for _, kind := range kinds {
			w.must(entity.Create{Kind: kind, Name: "x"})
			attached := func(prefix string) string {
				t.Helper()
				all, err := w.Attached(ctx, mine, kind, "X", prefix)
				if err != nil {
					t.Error(err)
				}
				return fmt.Sprint(all)
			}
			if got := attached(""); got != "[]" {
				t.Error(got)
			}
			w.ok(w.Attach(ctx, mine, kind, "x", top))
			w.ok(w.Attach(ctx, mine, kind, "X", deep))
			w.ok(w.Attach(ctx, mine, kind, "X", deep))
			if got := attached("/"); got != "[{"+deep+" deep /team/red/} {"+top+" Top /}]" {
				t.Error(got)
			}
			if got := attached("/team/"); got != "[{"+deep+" deep /team/red/}]" {
				t.Error(got)
			}
			w.refused(w.Attach(ctx, mine, kind, "x", other), errs.EntityNotFound, "Policy "+other+" does not exist or is not attachable.")
			w.refused(w.Attach(ctx, mine, kind, "x", top+"2"), errs.EntityNotFound, "Policy "+top+"2 does not exist or is not attachable.")
			w.refused(w.Attach(ctx, mine, kind, "x", "arn:aws:iam::aws:policy/Nothing"), errs.EntityNotFound, "Policy arn:aws:iam::aws:policy/Nothing does not exist or is not attachable.")
			w.refused(w.Attach(ctx, mine, kind, "x", "longpolicynamebutnoarn"), errs.Validation, "ARN longpolicynamebutnoarn is not valid.")
			w.refused(w.Attach(ctx, mine, kind, "x", "arn:aws:iam::111111111111:user/x"), errs.InvalidInput, "ARN arn:aws:iam::111111111111:user/x is not valid.")
			w.refused(w.Attach(ctx, mine, kind, "no", top), errs.EntityNotFound, "The "+string(kind)+" with name no cannot be found.")
			w.refused(w.Detach(ctx, mine, kind, "no", top), errs.EntityNotFound, "The "+string(kind)+" with name no cannot be found.")
			w.ok(w.Detach(ctx, mine, kind, "x", top))
			w.refused(w.Detach(ctx, mine, kind, "x", top), errs.EntityNotFound, "Policy "+top+" was not found.")
			if got := attached(""); got != "[{"+deep+" deep /team/red/}]" {
				t.Error(got)
			}
			_, err := w.Attached(ctx, mine, kind, "no", "")
			w.refused(err, errs.EntityNotFound, "The "+string(kind)+" with name no cannot be found.")
			for i := range 9 {
				arn := fmt.Sprintf("arn:aws:iam::111111111111:policy/%s%d", kind, i)
				w.managed(mine, fmt.Sprintf("%s%d", kind, i))
				w.ok(w.Attach(ctx, mine, kind, "x", arn))
			}
			title := strings.ToUpper(string(kind[:1])) + string(kind[1:])
			w.refused(w.Attach(ctx, mine, kind, "x", top), errs.EntityLimit, "Cannot exceed quota for PoliciesPer"+title+": 10")
			w.ok(w.Attach(ctx, mine, kind, "x", deep)) // it is there
		}
	})
}

// AWS's own policies are attached like others, but not those that only services
// may have.
func TestManagedByAWS(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		w.user("ann")
		var plain, service bool
		for _, p := range w.p.Managed().All() {
			if p.ServiceRole && !service {
				service = true
				w.refused(w.Attach(ctx, mine, entity.User, "ann", p.ARN), errs.PolicyNotAttachable, "Cannot attach a Service Role Policy to a Customer Role.")
				w.refused(w.SetBoundary(ctx, mine, entity.User, "ann", p.ARN), errs.PolicyNotAttachable, "Cannot attach a Service Role Policy to a Customer Role.")
			}
			if !p.ServiceRole && !plain {
				plain = true
				w.ok(w.Attach(ctx, mine, entity.User, "ann", p.ARN))
				w.ok(w.SetBoundary(ctx, mine, entity.User, "ann", p.ARN))
				all, err := w.Attached(ctx, mine, entity.User, "ann", p.Path)
				if err != nil || len(all) != 1 || all[0] != (entity.Attachment{ARN: p.ARN, Name: p.Name, Path: p.Path}) || all[0].Account() != "aws" {
					t.Errorf("%+v %v", all, err)
				}
			}
		}
		if !plain || !service {
			t.Errorf("no policies to try: %v %v", plain, service)
		}
	})
}

func TestBoundaries(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		arn, other := w.managed(mine, "b"), w.managed(theirs, "b")
		for _, kind := range []entity.Kind{entity.User, entity.Role} {
			made := w.must(entity.Create{Kind: kind, Name: "x", Boundary: arn})
			if got, err := w.Get(ctx, mine, kind, "x"); err != nil || made.Boundary != arn || got.Boundary != arn {
				t.Errorf("%+v %v", got, err)
			}
			w.ok(w.SetBoundary(ctx, mine, kind, "x", ""))
			w.ok(w.SetBoundary(ctx, mine, kind, "x", "")) // once more changes nothing
			if got, err := w.Get(ctx, mine, kind, "x"); err != nil || got.Boundary != "" {
				t.Errorf("%+v %v", got, err)
			}
			w.ok(w.SetBoundary(ctx, mine, kind, "x", arn))
			for _, c := range []struct {
				arn  string
				code errs.Code
				want string
			}{
				{other, errs.EntityNotFound, "Scope ARN: " + other + " does not exist or is not attachable."},
				{"arn:aws:iam::111111111111:not_a_policy/x", errs.InvalidInput, "ARN arn:aws:iam::111111111111:not_a_policy/x is not valid."},
				{"twenty characters long", errs.Validation, "ARN twenty characters long is not valid."},
			} {
				w.refused(w.SetBoundary(ctx, mine, kind, "x", c.arn), c.code, c.want)
				_, err := w.Create(ctx, entity.Create{Account: mine, Kind: kind, Name: "y", Boundary: c.arn, Trust: anyone})
				w.refused(err, c.code, c.want)
			}
			w.refused(w.SetBoundary(ctx, mine, kind, "no", arn), errs.EntityNotFound, "The "+string(kind)+" with name no cannot be found.")
			if got, err := w.Get(ctx, mine, kind, "x"); err != nil || got.Boundary != arn {
				t.Errorf("%+v %v", got, err)
			}
		}
	})
}

func TestInlinePolicies(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for _, kind := range kinds {
			w.must(entity.Create{Kind: kind, Name: "Xy"})
			w.ok(w.PutInline(ctx, mine, kind, "xy", "two", inline))
			w.ok(w.PutInline(ctx, mine, kind, "xy", "One", inline))
			changed := strings.ReplaceAll(inline, "ecr:*", "ecr:Get*")
			w.ok(w.PutInline(ctx, mine, kind, "xy", "two", changed))
			if got, err := w.Inlines(ctx, mine, kind, "xy"); err != nil || fmt.Sprint(got) != "[One two]" {
				t.Errorf("%v %v", got, err)
			}
			if e, document, err := w.Inline(ctx, mine, kind, "xy", "two"); err != nil || e.Name != "Xy" || document != changed {
				t.Errorf("%+v %q %v", e, document, err)
			}
			_, _, err := w.Inline(ctx, mine, kind, "xy", "no")
			w.refused(err, errs.EntityNotFound, "The "+string(kind)+" policy with name no cannot be found.")
			w.refused(w.DeleteInline(ctx, mine, kind, "xy", "no"), errs.EntityNotFound, "The "+string(kind)+" policy with name no cannot be found.")
			missing := "The " + string(kind) + " with name no cannot be found."
			_, _, err = w.Inline(ctx, mine, kind, "no", "two")
			w.refused(err, errs.EntityNotFound, missing)
			_, err = w.Inlines(ctx, mine, kind, "no")
			w.refused(err, errs.EntityNotFound, missing)
			w.refused(w.PutInline(ctx, mine, kind, "no", "two", inline), errs.EntityNotFound, missing)
			w.refused(w.DeleteInline(ctx, mine, kind, "no", "two"), errs.EntityNotFound, missing)
			w.refused(w.PutInline(ctx, mine, kind, "xy", "a/b", inline), errs.Validation, "The specified value for policyName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-")
			w.refused(w.PutInline(ctx, mine, kind, "xy", "bad", "{"), errs.PolicyMalformed, "Syntax errors in policy.")
			if err := w.PutInline(ctx, mine, kind, "xy", "bad", anyone); !errs.Is(err, errs.PolicyMalformed) {
				t.Errorf("a trust policy: %v", err)
			}
			w.ok(w.DeleteInline(ctx, mine, kind, "xy", "two"))
			if got, err := w.Inlines(ctx, mine, kind, "xy"); err != nil || fmt.Sprint(got) != "[One]" {
				t.Errorf("%v %v", got, err)
			}
		}
	})
}

// sized is an identity policy of n characters, white space apart.
func sized(n int) string {
	const frame = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecr:Get","Resource":"*"}}`
	return strings.Replace(strings.Replace(frame, "Get", "Get"+strings.Repeat("x", n-len(frame)), 1), ":{", ": \t\r\n {", 1)
}

func TestInlineSizes(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for kind, most := range map[entity.Kind]int{entity.User: 2048, entity.Group: 5120, entity.Role: 10240} {
			w.must(entity.Create{Kind: kind, Name: "x"})
			over := fmt.Sprintf("Maximum policy size of %d bytes exceeded for %s x", most, kind)
			w.refused(w.PutInline(ctx, mine, kind, "x", "a", sized(most+1)), errs.EntityLimit, over)
			w.ok(w.PutInline(ctx, mine, kind, "x", "a", sized(most)))
			w.ok(w.PutInline(ctx, mine, kind, "x", "a", sized(most-200))) // in place of the other
			w.refused(w.PutInline(ctx, mine, kind, "x", "b", sized(201)), errs.EntityLimit, over)
			w.ok(w.PutInline(ctx, mine, kind, "x", "b", sized(200)))
		}
	})
}

func TestTags(t *testing.T) {
	each(t, func(t *testing.T, w world) {
		ctx := t.Context()
		for _, kind := range []entity.Kind{entity.User, entity.Role} {
			made := w.must(entity.Create{Kind: kind, Name: "x", Tags: []entity.Tag{{Key: "Team", Value: "red"}, {Key: "empty", Value: ""}}})
			tags := func() string {
				t.Helper()
				e, err := w.Get(ctx, mine, kind, "x")
				if err != nil {
					t.Error(err)
				}
				return fmt.Sprint(e.Tags)
			}
			if fmt.Sprint(made.Tags) != "map[Team:red empty:]" || tags() != "map[Team:red empty:]" {
				t.Errorf("%v %s", made.Tags, tags())
			}
			w.ok(w.Tag(ctx, mine, kind, "X", []entity.Tag{{Key: "tEAM", Value: "blue"}, {Key: "Größe", Value: "a b"}}))
			if got := tags(); got != "map[Größe:a b empty: tEAM:blue]" {
				t.Error(got)
			}
			w.ok(w.Untag(ctx, mine, kind, "X", []string{"TEAM", "GRÖSSE", "größe", "unknown"}))
			if got := tags(); got != "map[empty:]" {
				t.Error(got)
			}
			all, err := w.List(ctx, mine, kind, "/", "", 10)
			if err != nil || len(all) != 1 || all[0].Tags != nil {
				t.Errorf("%+v %v", all, err)
			}
			missing := "The " + string(kind) + " with name no cannot be found."
			w.refused(w.Tag(ctx, mine, kind, "no", nil), errs.EntityNotFound, missing)
			w.refused(w.Untag(ctx, mine, kind, "no", nil), errs.EntityNotFound, missing)
			for _, c := range []struct {
				tags []entity.Tag
				want string
			}{
				{[]entity.Tag{{Key: "a"}, {Key: "A"}}, "Duplicate tag keys found. Please note that Tag keys are case insensitive."},
				{[]entity.Tag{{Key: "AWS:x"}}, "Tag keys that begin with aws: are reserved for AWS; choose another one."},
				{[]entity.Tag{{Key: ""}}, `The tag with the key "" is not valid.`},
				{[]entity.Tag{{Key: "a*"}}, `The tag with the key "a*" is not valid.`},
				{[]entity.Tag{{Key: "a", Value: "*"}}, `The tag with the key "a" is not valid.`},
				{[]entity.Tag{{Key: strings.Repeat("k", 129)}}, `The tag with the key "` + strings.Repeat("k", 129) + `" is not valid.`},
				{[]entity.Tag{{Key: "k", Value: strings.Repeat("v", 257)}}, `The tag with the key "k" is not valid.`},
			} {
				w.refused(w.Tag(ctx, mine, kind, "x", c.tags), errs.InvalidInput, c.want)
				_, err := w.Create(ctx, entity.Create{Account: mine, Kind: kind, Name: "y", Tags: c.tags, Trust: anyone})
				w.refused(err, errs.InvalidInput, c.want)
			}
			var many []entity.Tag
			for i := range 49 {
				many = append(many, entity.Tag{Key: fmt.Sprint("k", i)})
			}
			w.ok(w.Tag(ctx, mine, kind, "x", many))
			title := strings.ToUpper(string(kind[:1])) + string(kind[1:])
			w.refused(w.Tag(ctx, mine, kind, "x", []entity.Tag{{Key: "another"}}), errs.EntityLimit, "Cannot exceed quota for TagsPer"+title+": 50")
			w.ok(w.Tag(ctx, mine, kind, "x", []entity.Tag{{Key: "K1", Value: "changed"}}))
			_, err = w.Create(ctx, entity.Create{Account: mine, Kind: kind, Name: "y", Tags: append(many, entity.Tag{Key: "a"}, entity.Tag{Key: "b"}), Trust: anyone})
			w.refused(err, errs.EntityLimit, "Cannot exceed quota for TagsPer"+title+": 50")
		}
	})
}
