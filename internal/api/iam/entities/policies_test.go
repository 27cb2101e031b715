package entities_test

import (
	"context"
	"fmt"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// page is a page of a list, by the names in it.
type page struct {
	names     []string
	truncated bool
	marker    *string
}

// kind is how the SDK calls what users, groups and roles have in common.
type kind struct {
	word           string
	create         func(name string) error
	attach, detach func(name, arn string) error
	attached       func(name, prefix string, marker *string) (page, error)
	put            func(name, policy, document string) error
	read           func(name, policy string) (of, called, document *string, err error)
	remove         func(name, policy string) error
	list           func(name string, marker *string) (page, error)
	bound          func(name, arn string) error // nil for groups
	unbound        func(name string) error
	boundary       func(name string) *types.AttachedPermissionsBoundary
	tag            func(name string, tags ...types.Tag) error
	untag          func(name string, keys ...string) error
	tags           func(name string, marker *string) (page, error)
}

func kinds(ctx context.Context, w *world) []kind {
	attached := func(in []types.AttachedPolicy, truncated bool, marker *string) page {
		p := page{truncated: truncated, marker: marker}
		for _, a := range in {
			p.names = append(p.names, *a.PolicyName+" "+*a.PolicyArn)
		}
		return p
	}
	tags := func(in []types.Tag, truncated bool, marker *string) page {
		p := page{truncated: truncated, marker: marker}
		for _, t := range in {
			p.names = append(p.names, *t.Key+"="+*t.Value)
		}
		return p
	}
	one := sdk.Int32(1)
	return []kind{
		{
			word:   "user",
			create: func(n string) error { _, err := w.CreateUser(ctx, &iam.CreateUserInput{UserName: &n}); return err },
			attach: func(n, a string) error {
				_, err := w.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: &n, PolicyArn: &a})
				return err
			},
			detach: func(n, a string) error {
				_, err := w.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: &n, PolicyArn: &a})
				return err
			},
			attached: func(n, prefix string, marker *string) (page, error) {
				out, err := w.ListAttachedUserPolicies(ctx, &iam.ListAttachedUserPoliciesInput{UserName: &n, PathPrefix: &prefix, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return attached(out.AttachedPolicies, out.IsTruncated, out.Marker), nil
			},
			put: func(n, p, d string) error {
				_, err := w.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &n, PolicyName: &p, PolicyDocument: &d})
				return err
			},
			read: func(n, p string) (_, _, _ *string, err error) {
				out, err := w.GetUserPolicy(ctx, &iam.GetUserPolicyInput{UserName: &n, PolicyName: &p})
				if err != nil {
					return nil, nil, nil, err
				}
				return out.UserName, out.PolicyName, out.PolicyDocument, nil
			},
			remove: func(n, p string) error {
				_, err := w.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: &n, PolicyName: &p})
				return err
			},
			list: func(n string, marker *string) (page, error) {
				out, err := w.ListUserPolicies(ctx, &iam.ListUserPoliciesInput{UserName: &n, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return page{out.PolicyNames, out.IsTruncated, out.Marker}, nil
			},
			bound: func(n, a string) error {
				_, err := w.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: &n, PermissionsBoundary: &a})
				return err
			},
			unbound: func(n string) error {
				_, err := w.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: &n})
				return err
			},
			boundary: func(n string) *types.AttachedPermissionsBoundary {
				return got(w.GetUser(ctx, &iam.GetUserInput{UserName: &n}))(w.t).User.PermissionsBoundary
			},
			tag: func(n string, tags ...types.Tag) error {
				_, err := w.TagUser(ctx, &iam.TagUserInput{UserName: &n, Tags: tags})
				return err
			},
			untag: func(n string, keys ...string) error {
				_, err := w.UntagUser(ctx, &iam.UntagUserInput{UserName: &n, TagKeys: keys})
				return err
			},
			tags: func(n string, marker *string) (page, error) {
				out, err := w.ListUserTags(ctx, &iam.ListUserTagsInput{UserName: &n, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return tags(out.Tags, out.IsTruncated, out.Marker), nil
			},
		},
		{
			word:   "group",
			create: func(n string) error { _, err := w.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: &n}); return err },
			attach: func(n, a string) error {
				_, err := w.AttachGroupPolicy(ctx, &iam.AttachGroupPolicyInput{GroupName: &n, PolicyArn: &a})
				return err
			},
			detach: func(n, a string) error {
				_, err := w.DetachGroupPolicy(ctx, &iam.DetachGroupPolicyInput{GroupName: &n, PolicyArn: &a})
				return err
			},
			attached: func(n, prefix string, marker *string) (page, error) {
				out, err := w.ListAttachedGroupPolicies(ctx, &iam.ListAttachedGroupPoliciesInput{GroupName: &n, PathPrefix: &prefix, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return attached(out.AttachedPolicies, out.IsTruncated, out.Marker), nil
			},
			put: func(n, p, d string) error {
				_, err := w.PutGroupPolicy(ctx, &iam.PutGroupPolicyInput{GroupName: &n, PolicyName: &p, PolicyDocument: &d})
				return err
			},
			read: func(n, p string) (_, _, _ *string, err error) {
				out, err := w.GetGroupPolicy(ctx, &iam.GetGroupPolicyInput{GroupName: &n, PolicyName: &p})
				if err != nil {
					return nil, nil, nil, err
				}
				return out.GroupName, out.PolicyName, out.PolicyDocument, nil
			},
			remove: func(n, p string) error {
				_, err := w.DeleteGroupPolicy(ctx, &iam.DeleteGroupPolicyInput{GroupName: &n, PolicyName: &p})
				return err
			},
			list: func(n string, marker *string) (page, error) {
				out, err := w.ListGroupPolicies(ctx, &iam.ListGroupPoliciesInput{GroupName: &n, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return page{out.PolicyNames, out.IsTruncated, out.Marker}, nil
			},
		},
		{
			word: "role",
			create: func(n string) error {
				_, err := w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &n, AssumeRolePolicyDocument: sdk.String(trust)})
				return err
			},
			attach: func(n, a string) error {
				_, err := w.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &n, PolicyArn: &a})
				return err
			},
			detach: func(n, a string) error {
				_, err := w.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &n, PolicyArn: &a})
				return err
			},
			attached: func(n, prefix string, marker *string) (page, error) {
				out, err := w.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &n, PathPrefix: &prefix, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return attached(out.AttachedPolicies, out.IsTruncated, out.Marker), nil
			},
			put: func(n, p, d string) error {
				_, err := w.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &n, PolicyName: &p, PolicyDocument: &d})
				return err
			},
			read: func(n, p string) (_, _, _ *string, err error) {
				out, err := w.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &n, PolicyName: &p})
				if err != nil {
					return nil, nil, nil, err
				}
				return out.RoleName, out.PolicyName, out.PolicyDocument, nil
			},
			remove: func(n, p string) error {
				_, err := w.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &n, PolicyName: &p})
				return err
			},
			list: func(n string, marker *string) (page, error) {
				out, err := w.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &n, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return page{out.PolicyNames, out.IsTruncated, out.Marker}, nil
			},
			bound: func(n, a string) error {
				_, err := w.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: &n, PermissionsBoundary: &a})
				return err
			},
			unbound: func(n string) error {
				_, err := w.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: &n})
				return err
			},
			boundary: func(n string) *types.AttachedPermissionsBoundary {
				return got(w.GetRole(ctx, &iam.GetRoleInput{RoleName: &n}))(w.t).Role.PermissionsBoundary
			},
			tag: func(n string, tags ...types.Tag) error {
				_, err := w.TagRole(ctx, &iam.TagRoleInput{RoleName: &n, Tags: tags})
				return err
			},
			untag: func(n string, keys ...string) error {
				_, err := w.UntagRole(ctx, &iam.UntagRoleInput{RoleName: &n, TagKeys: keys})
				return err
			},
			tags: func(n string, marker *string) (page, error) {
				out, err := w.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: &n, Marker: marker, MaxItems: one})
				if err != nil {
					return page{}, err
				}
				return tags(out.Tags, out.IsTruncated, out.Marker), nil
			},
		},
	}
}

// all reads a list page by page.
func all(t *testing.T, next func(marker *string) (page, error)) string {
	t.Helper()
	names := []string{}
	for marker := (*string)(nil); ; {
		p := got(next(marker))(t)
		if names = append(names, p.names...); !p.truncated {
			return fmt.Sprint(names)
		}
		if len(p.names) != 1 || p.marker == nil || len(names) > 100 {
			t.Fatalf("%+v", p)
		}
		marker = p.marker
	}
}

func TestPolicies(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	// The same name as one of AWS's, and names that its own sorts around.
	const awsOwn = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
	own, plus, deep := w.managed("AmazonEC2ContainerRegistryReadOnly"), w.managed("AmazonEC2ContainerRegistryReadOnly+x"), w.managed("team/deep")
	for _, k := range kinds(ctx, w) {
		must(k.create("Xy"))
		for _, a := range []string{own, awsOwn, plus, deep, deep} {
			must(k.attach("xy", a))
		}
		attached := func(prefix string) string {
			t.Helper()
			return all(t, func(marker *string) (page, error) { return k.attached("xy", prefix, marker) })
		}
		const called = "AmazonEC2ContainerRegistryReadOnly"
		if got := attached("/"); got != "["+called+" "+own+" "+called+" "+awsOwn+" "+called+"+x "+plus+" deep "+deep+"]" {
			t.Errorf("%s: %s", k.word, got)
		}
		if got := attached("/team/"); got != "[deep "+deep+"]" {
			t.Errorf("%s: %s", k.word, got)
		}
		must(k.detach("xy", deep))
		w.refused(k.detach("xy", deep), "NoSuchEntity", 404, "Policy "+deep+" was not found.")
		w.refused(k.attach("xy", deep+"x"), "NoSuchEntity", 404, "Policy "+deep+"x does not exist or is not attachable.")
		w.refused(k.attach("xy", "arn:aws:iam::aws:policy/aws-service-role/ECRReplicationServiceRolePolicy"), "PolicyNotAttachable", 400, "Cannot attach a Service Role Policy to a Customer Role.")

		must(k.put("xy", "two", inline))
		must(k.put("xy", "One", inline))
		if got := all(t, func(marker *string) (page, error) { return k.list("xy", marker) }); got != "[One two]" {
			t.Errorf("%s: %s", k.word, got)
		}
		of, name, document, err := k.read("xy", "two")
		must(err)
		if *of != "Xy" || *name != "two" || w.decoded(document) != inline {
			t.Errorf("%s: %s %s %s", k.word, *of, *name, *document)
		}
		must(k.remove("xy", "two"))
		_, _, _, err = k.read("xy", "two")
		w.refused(err, "NoSuchEntity", 404, "The "+k.word+" policy with name two cannot be found.")
		w.refused(k.put("xy", "two", "{"), "MalformedPolicyDocument", 400, "")
		if k.bound == nil {
			continue
		}

		must(k.bound("xy", own))
		if b := k.boundary("xy"); *b.PermissionsBoundaryArn != own {
			t.Errorf("%s: %+v", k.word, b)
		}
		w.refused(k.bound("xy", own+"x"), "NoSuchEntity", 404, "Scope ARN: "+own+"x does not exist or is not attachable.")
		must(k.unbound("xy"))
		if b := k.boundary("xy"); b != nil {
			t.Errorf("%s: %+v", k.word, b)
		}

		must(k.tag("xy", tag("b", "1"), tag("a", ""), tag("C", "3")))
		must(k.tag("xy", tag("B", "2")))
		if got := all(t, func(marker *string) (page, error) { return k.tags("xy", marker) }); got != "[B=2 C=3 a=]" {
			t.Errorf("%s: %s", k.word, got)
		}
		must(k.untag("xy", "A", "c"))
		if got := all(t, func(marker *string) (page, error) { return k.tags("xy", marker) }); got != "[B=2]" {
			t.Errorf("%s: %s", k.word, got)
		}
		w.refused(k.tag("no", tag("b", "1")), "NoSuchEntity", 404, "The "+k.word+" with name no cannot be found.")
	}
}
