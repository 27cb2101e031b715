package policies_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/principal/entity"
	"github.com/berth-registry/berth/internal/infra/sqldb/sqldbtest"
)

func TestPolicies(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	made, err := w.CreatePolicy(ctx, &iam.CreatePolicyInput{
		PolicyName: new("Push"), Path: new("/team/"), PolicyDocument: new(document), Description: new("pushes"),
		Tags: []types.Tag{{Key: new("Owner"), Value: new("me")}},
	})
	ok(t, err)
	if p := made.Policy; *p.Arn != push || *p.PolicyName != "Push" || *p.Path != "/team/" || *p.DefaultVersionId != "v1" || *p.AttachmentCount != 0 ||
		*p.PermissionsBoundaryUsageCount != 0 || !p.IsAttachable || !strings.HasPrefix(*p.PolicyId, "ANPA") || !p.CreateDate.Equal(w.clk.Now()) ||
		!p.UpdateDate.Equal(w.clk.Now()) || p.Description != nil || len(p.Tags) != 1 || *p.Tags[0].Key != "Owner" {
		t.Errorf("%+v", p)
	}
	const tagged = " [aws:requesttag/owner:[me] aws:tagkeys:[Owner]]"
	if got := w.needs(); got != "iam:CreatePolicy "+push+tagged+"\niam:TagPolicy "+push+tagged {
		t.Error(got)
	}
	got, err := w.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: new(push)})
	ok(t, err)
	if p := got.Policy; *p.Description != "pushes" || *p.PolicyId != *made.Policy.PolicyId || len(p.Tags) != 1 || *p.Tags[0].Value != "me" {
		t.Errorf("%+v", p)
	}
	if got := w.needs(); got != "iam:GetPolicy "+push+" [aws:resourcetag/owner:[me]]" {
		t.Error(got)
	}
	_, err = w.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: new("push"), PolicyDocument: new(document)})
	refused(t, "again", err, "EntityAlreadyExists", "A policy called push already exists. Duplicate names are not allowed.")
	if got := w.needs(); got != "iam:CreatePolicy arn:aws:iam::111111111111:policy/push" {
		t.Error(got)
	}
	_, err = w.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: new("Bad"), PolicyDocument: new(`{"Statement":[]}`)})
	refused(t, "a bad document", err, "MalformedPolicyDocument", "Syntax errors in policy.")
	_, err = w.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: new("Big"), PolicyDocument: new(strings.Replace(document, "ecr:*", "ecr:"+strings.Repeat("a", 6144), 1))})
	refused(t, "a long document", err, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144")

	own, err := w.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: new(admin)})
	ok(t, err)
	if p := own.Policy; *p.PolicyId != "ANPAIWMBCKSKIEE64ZLYK" || *p.Arn != admin || *p.DefaultVersionId != "v1" || p.CreateDate.Year() != 2015 || len(p.Tags) != 0 || p.Tags == nil {
		t.Errorf("%+v", p)
	}
	w.needs()
	_, err = w.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: new(admin)})
	refused(t, "deleting AWS's", err, "AccessDenied", "The policy "+admin+" is managed by AWS and cannot be changed.")
	if got := w.needs(); got != "iam:DeletePolicy "+admin {
		t.Error(got)
	}
	_, err = w.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: new("arn:aws:iam::222222222222:policy/Push")})
	refused(t, "another account's", err, "AccessDenied", "no")
	_, err = w.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: new("arn:aws:iam::111111111111:role/Push")})
	refused(t, "a role's ARN", err, "InvalidInput", "ARN arn:aws:iam::111111111111:role/Push is not valid.")

	ann := w.entity(t, entity.User, "/", "ann")
	w.attach(t, ann, push)
	_, err = w.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: new(push)})
	refused(t, "attached", err, "DeleteConflict", "Cannot delete a policy attached to entities.")
	ok(t, w.entities.Detach(ctx, account, entity.User, "ann", push))
	_, err = w.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: new(push)})
	ok(t, err)
	_, err = w.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: new(push)})
	refused(t, "gone", err, "NoSuchEntity", "Policy "+push+" was not found.")
}

func TestPolicyVersions(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	w.push(t)
	w.needs()
	spaced := strings.Replace(document, `"*"`, `"arn:aws:ecr:*:*:repository/a+b é%"`, 1)
	w.clk.Advance(time.Hour)
	two, err := w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: &spaced, SetAsDefault: true})
	ok(t, err)
	if v := two.PolicyVersion; *v.VersionId != "v2" || !v.IsDefaultVersion || v.Document != nil || !v.CreateDate.Equal(w.clk.Now()) {
		t.Errorf("%+v", v)
	}
	got, err := w.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: new(push), VersionId: new("v2")})
	ok(t, err)
	if v := got.PolicyVersion; plain(t, v.Document) != spaced || !v.IsDefaultVersion {
		t.Errorf("%+v", v)
	}
	_, err = w.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: new(push), VersionId: new("v2")})
	refused(t, "the default", err, "DeleteConflict", "Cannot delete the default version of a policy.")
	_, err = w.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: new(push), VersionId: new("v1")})
	ok(t, err)
	if got := w.needs(); got != "iam:CreatePolicyVersion "+push+"\niam:GetPolicyVersion "+push+"\niam:DeletePolicyVersion "+push+"\niam:SetDefaultPolicyVersion "+push {
		t.Error(got)
	}
	for range 3 {
		_, err := w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: new(document)})
		ok(t, err)
	}
	_, err = w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: new(document)})
	refused(t, "a sixth", err, "LimitExceeded", "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
	_, err = w.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: new(push), PolicyDocument: new("no")})
	refused(t, "a bad document", err, "MalformedPolicyDocument", "Syntax errors in policy.")

	var listed []string
	pages := iam.NewListPolicyVersionsPaginator(w, &iam.ListPolicyVersionsInput{PolicyArn: new(push), MaxItems: new(int32(2))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		ok(t, err)
		for _, v := range page.Versions {
			listed = append(listed, fmt.Sprint(*v.VersionId, v.IsDefaultVersion))
		}
	}
	if got := strings.Join(listed, " "); got != "v5false v4false v3false v2false v1true" {
		t.Error(got)
	}
	_, err = w.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: new(push), Marker: new("eHh4")})
	refused(t, "a bad marker", err, "ValidationError", "Invalid Marker.")
	_, err = w.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: new(push), VersionId: new("v5")})
	ok(t, err)
	_, err = w.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: new(push), VersionId: new("v5")})
	refused(t, "deleted", err, "NoSuchEntity", "Policy "+push+" version v5 does not exist or is not attachable.")

	own, err := w.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: new(readOnly)})
	ok(t, err)
	if len(own.Versions) != 2 || *own.Versions[0].VersionId != "v3" || !own.Versions[0].IsDefaultVersion {
		t.Errorf("%+v", own.Versions)
	}
	text, err := w.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: new(readOnly), VersionId: new("v3")})
	ok(t, err)
	if !strings.Contains(plain(t, text.PolicyVersion.Document), `"ecr:DescribeImageScanFindings"`) {
		t.Errorf("%+v", text)
	}
}

func TestListPolicies(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	w.push(t)
	_, err := w.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: new("Bound"), PolicyDocument: new(document), Description: new("d")})
	ok(t, err)
	bound := "arn:aws:iam::111111111111:policy/Bound"
	ann, ci, devs := w.entity(t, entity.User, "/", "ann"), w.entity(t, entity.Role, "/x/", "ci"), w.entity(t, entity.Group, "/x/", "devs")
	for _, e := range []entity.Entity{ann, ci, devs} {
		w.attach(t, e, push)
	}
	w.attach(t, ci, readOnly)
	ok(t, w.entities.SetBoundary(ctx, account, entity.User, "ann", bound))
	w.needs()
	for _, c := range []struct {
		what string
		in   iam.ListPoliciesInput
		want string
	}{
		{"local", iam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}, "Bound Push"},
		{"attached", iam.ListPoliciesInput{OnlyAttached: true}, "Bound Push AmazonEC2ContainerRegistryReadOnly"},
		{"as permissions", iam.ListPoliciesInput{OnlyAttached: true, PolicyUsageFilter: types.PolicyUsageTypePermissionsPolicy}, "Push AmazonEC2ContainerRegistryReadOnly"},
		{"as boundaries", iam.ListPoliciesInput{PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}, "Bound"},
		{"path", iam.ListPoliciesInput{PathPrefix: new("/team/")}, "Push"},
		{"AWS's path", iam.ListPoliciesInput{Scope: types.PolicyScopeTypeAws, PathPrefix: new("/service-role/")}, "AmazonEC2ContainerServiceforEC2Role"},
	} {
		c.in.MaxItems = new(int32(1))
		var names []string
		pages := iam.NewListPoliciesPaginator(w, &c.in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			ok(t, err)
			for _, p := range page.Policies {
				names = append(names, *p.PolicyName)
				if p.Description != nil || p.Tags != nil {
					t.Errorf("%+v", p)
				}
			}
		}
		if strings.Join(names, " ") != c.want {
			t.Errorf("%s: %v", c.what, names)
		}
	}
	w.needs()
	all, err := w.ListPolicies(ctx, &iam.ListPoliciesInput{})
	ok(t, err)
	if len(all.Policies) != 19 || all.IsTruncated || *all.Policies[1].AttachmentCount != 3 || *all.Policies[0].PermissionsBoundaryUsageCount != 1 {
		t.Errorf("%d %+v", len(all.Policies), all.Policies[1])
	}
	if got := w.needs(); got != "iam:ListPolicies *" {
		t.Error(got)
	}
	none, err := w.ListPolicies(ctx, &iam.ListPoliciesInput{PathPrefix: new("/nowhere/")})
	ok(t, err)
	if none.Policies == nil || len(none.Policies) != 0 {
		t.Errorf("%+v", none)
	}
	for _, marker := range []string{"%%%", "YQBi", ""} { // YQBi has two keys
		_, err := w.ListPolicies(ctx, &iam.ListPoliciesInput{Marker: &marker})
		if marker == "" {
			if err == nil {
				t.Error("an empty marker")
			}
			continue
		}
		refused(t, marker, err, "ValidationError", "Invalid Marker.")
	}

	w.needs()
	who := func(in iam.ListEntitiesForPolicyInput) string {
		in.MaxItems = new(int32(1))
		var got []string
		pages := iam.NewListEntitiesForPolicyPaginator(w, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			ok(t, err)
			for _, e := range page.PolicyGroups {
				got = append(got, *e.GroupName+*e.GroupId)
			}
			for _, e := range page.PolicyRoles {
				got = append(got, *e.RoleName+*e.RoleId)
			}
			for _, e := range page.PolicyUsers {
				got = append(got, *e.UserName+*e.UserId)
			}
		}
		return strings.Join(got, " ")
	}
	if got := who(iam.ListEntitiesForPolicyInput{PolicyArn: new(push)}); got != "devs"+devs.ID+" ci"+ci.ID+" ann"+ann.ID {
		t.Error(got)
	}
	if got := w.needs(); !strings.HasPrefix(got, "iam:ListEntitiesForPolicy "+push+"\n") {
		t.Error(got)
	}
	for filter, want := range map[types.EntityType]string{
		types.EntityTypeUser: "ann" + ann.ID, types.EntityTypeRole: "ci" + ci.ID, types.EntityTypeGroup: "devs" + devs.ID, types.EntityTypeLocalManagedPolicy: "",
	} {
		if got := who(iam.ListEntitiesForPolicyInput{PolicyArn: new(push), EntityFilter: filter}); got != want {
			t.Errorf("%s: %s", filter, got)
		}
	}
	if got := who(iam.ListEntitiesForPolicyInput{PolicyArn: &bound, PolicyUsageFilter: types.PolicyUsageTypePermissionsBoundary}); got != "ann"+ann.ID {
		t.Error(got)
	}
	if got := who(iam.ListEntitiesForPolicyInput{PolicyArn: new(push), PathPrefix: new("/x/")}); got != "devs"+devs.ID+" ci"+ci.ID {
		t.Error(got)
	}
	empty, err := w.ListEntitiesForPolicy(ctx, &iam.ListEntitiesForPolicyInput{PolicyArn: new(admin)})
	ok(t, err)
	if empty.PolicyGroups == nil || empty.PolicyRoles == nil || empty.PolicyUsers == nil {
		t.Errorf("%+v", empty)
	}
}

func TestPolicyTags(t *testing.T) {
	w, ctx := open(t, sqldbtest.SQLite(t)), t.Context()
	w.push(t)
	w.needs()
	tag := func(pairs ...string) (tags []types.Tag) {
		for i := 0; i < len(pairs); i += 2 {
			tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		return tags
	}
	_, err := w.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: new(push), Tags: tag("Owner", "me", "b", "", "C", "3")})
	ok(t, err)
	w.needs()
	_, err = w.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: new(push), Tags: tag("owner", "you")})
	ok(t, err)
	if got := w.needs(); got != "iam:TagPolicy "+push+" [aws:requesttag/owner:[you] aws:resourcetag/b:[] aws:resourcetag/c:[3] aws:resourcetag/owner:[me] aws:tagkeys:[owner]]" {
		t.Error(got)
	}
	var listed []string
	pages := iam.NewListPolicyTagsPaginator(w, &iam.ListPolicyTagsInput{PolicyArn: new(push), MaxItems: new(int32(2))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		ok(t, err)
		for _, v := range page.Tags {
			listed = append(listed, *v.Key+"="+*v.Value)
		}
	}
	if strings.Join(listed, " ") != "b= C=3 owner=you" {
		t.Error(listed)
	}
	w.needs()
	_, err = w.UntagPolicy(ctx, &iam.UntagPolicyInput{PolicyArn: new(push), TagKeys: []string{"OWNER", "c", "b", "absent"}})
	ok(t, err)
	if got := w.needs(); !strings.HasSuffix(got, " aws:tagkeys:[OWNER c b absent]]") || !strings.HasPrefix(got, "iam:UntagPolicy "+push) {
		t.Error(got)
	}
	left, err := w.ListPolicyTags(ctx, &iam.ListPolicyTagsInput{PolicyArn: new(push)})
	ok(t, err)
	if left.Tags == nil || len(left.Tags) != 0 {
		t.Errorf("%+v", left)
	}
	_, err = w.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: new(push), Tags: tag("a", "1", "A", "2")})
	refused(t, "a key twice", err, "InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	_, err = w.TagPolicy(ctx, &iam.TagPolicyInput{PolicyArn: new(admin), Tags: tag("a", "1")})
	refused(t, "AWS's", err, "AccessDenied", "The policy "+admin+" is managed by AWS and cannot be changed.")
}
