package entities_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/berth-registry/berth/internal/domain/principal"
)

func tag(key, value string) types.Tag { return types.Tag{Key: &key, Value: &value} }

func tagText(tags []types.Tag) string {
	var out []string
	for _, t := range tags {
		out = append(out, *t.Key+"="+*t.Value)
	}
	return strings.Join(out, " ")
}

func TestUsers(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	boundary := w.managed("bound")
	made := got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("Ann"), Path: sdk.String("/team/"), PermissionsBoundary: &boundary, Tags: []types.Tag{tag("b", "2"), tag("A", "1")}}))(t).User
	if *made.Arn != arn+"user/team/Ann" || *made.Path != "/team/" || *made.UserName != "Ann" || len(*made.UserId) != 21 || !made.CreateDate.Equal(w.clk.Now()) ||
		tagText(made.Tags) != "A=1 b=2" || *made.PermissionsBoundary.PermissionsBoundaryArn != boundary || made.PermissionsBoundary.PermissionsBoundaryType != "Policy" {
		t.Errorf("%+v", made)
	}
	read := got(w.GetUser(ctx, &iam.GetUserInput{UserName: sdk.String("ANN")}))(t).User
	if *read.UserId != *made.UserId || *read.UserName != "Ann" || tagText(read.Tags) != "A=1 b=2" || read.PermissionsBoundary == nil || read.PasswordLastUsed != nil {
		t.Errorf("%+v", read)
	}
	_, err := w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("ann")})
	w.refused(err, "EntityAlreadyExists", 409, "User with name ann already exists.")
	_, err = w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("a/b")})
	w.refused(err, "ValidationError", 400, "")
	_, err = w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("b"), Tags: []types.Tag{tag("k", ""), tag("K", "")}})
	w.refused(err, "InvalidInput", 400, "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
	got(w.UpdateUser(ctx, &iam.UpdateUserInput{UserName: sdk.String("Ann"), NewUserName: sdk.String("Elm"), NewPath: sdk.String("/new/")}))(t)
	if read = got(w.GetUser(ctx, &iam.GetUserInput{UserName: sdk.String("elm")}))(t).User; *read.UserId != *made.UserId || *read.Arn != arn+"user/new/Elm" {
		t.Errorf("%+v", read)
	}
	for _, name := range []string{"zoe", "Bay"} {
		got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))(t)
	}
	all := got(w.ListUsers(ctx, &iam.ListUsersInput{}))(t)
	if len(all.Users) != 3 || all.IsTruncated || all.Marker != nil || *all.Users[0].UserName != "Bay" || all.Users[1].Tags != nil || all.Users[1].PermissionsBoundary != nil {
		t.Errorf("%+v", all)
	}
	if some := got(w.ListUsers(ctx, &iam.ListUsersInput{PathPrefix: sdk.String("/n")}))(t); len(some.Users) != 1 || *some.Users[0].UserName != "Elm" {
		t.Errorf("%+v", some)
	}
	var paged []string
	for pages := iam.NewListUsersPaginator(w, &iam.ListUsersInput{MaxItems: sdk.Int32(1)}); pages.HasMorePages() && len(paged) < 20; {
		page := got(pages.NextPage(ctx))(t)
		for _, u := range page.Users {
			paged = append(paged, *u.UserName)
		}
	}
	if fmt.Sprint(paged) != "[Bay Elm zoe]" {
		t.Error(paged)
	}
	for _, bad := range []string{"x", "!", "MjphYg", "MTphAA", "MTph_w"} { // not base64 twice, not ours, NUL, not UTF-8
		_, err := w.ListUsers(ctx, &iam.ListUsersInput{Marker: &bad})
		w.refused(err, "ValidationError", 400, "Invalid Marker.")
	}
	got(w.DeleteUser(ctx, &iam.DeleteUserInput{UserName: sdk.String("zoe")}))(t)
	_, err = w.GetUser(ctx, &iam.GetUserInput{UserName: sdk.String("zoe")})
	w.refused(err, "NoSuchEntity", 404, "The user with name zoe cannot be found.")
	w.forbid = "iam:DeleteUser"
	_, err = w.DeleteUser(ctx, &iam.DeleteUserInput{UserName: sdk.String("Bay")})
	w.refused(err, "AccessDenied", 403, "")
}

// GetUser without a name is about the caller.
func TestGetUserOfTheCaller(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	ann := got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("ann"), Path: sdk.String("/p/")}))(t).User
	role := got(w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: sdk.String("r"), AssumeRolePolicyDocument: sdk.String(trust)}))(t).Role
	root := got(w.GetUser(ctx, &iam.GetUserInput{}))(t).User
	if *root.Arn != arn+"root" || *root.UserId != string(mine) || root.UserName != nil || root.CreateDate == nil || w.last.Needs[0].Resource.String() != arn+"root" {
		t.Errorf("%+v %+v", root, w.last.Needs)
	}
	w.caller = principal.Principal{Account: mine, ARN: *ann.Arn, ID: *ann.UserId, Entity: *ann.UserId}
	for _, session := range []*principal.Session{nil, {Kind: principal.TokenSession}} {
		w.caller.Session = session
		if me := got(w.GetUser(ctx, &iam.GetUserInput{}))(t).User; *me.Arn != *ann.Arn || w.last.Needs[0].Resource.String() != *ann.Arn {
			t.Errorf("%+v %+v", me, w.last.Needs)
		}
	}
	const must = "Must specify userName when calling with non-User credentials"
	w.caller.Session = &principal.Session{Kind: principal.FederatedSession}
	_, err := w.GetUser(ctx, &iam.GetUserInput{})
	w.refused(err, "ValidationError", 400, must)
	w.caller = principal.Principal{Account: mine, ARN: "arn:aws:sts::111111111111:assumed-role/r/s", Entity: *role.RoleId, Session: &principal.Session{Kind: principal.RoleSession}}
	_, err = w.GetUser(ctx, &iam.GetUserInput{})
	w.refused(err, "ValidationError", 400, must)
}

func TestGroups(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	red := got(w.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: sdk.String("Red"), Path: sdk.String("/g/")}))(t).Group
	if *red.Arn != arn+"group/g/Red" || *red.Path != "/g/" || len(*red.GroupId) != 21 {
		t.Errorf("%+v", red)
	}
	empty := got(w.GetGroup(ctx, &iam.GetGroupInput{GroupName: sdk.String("red")}))(t)
	if *empty.Group.GroupName != "Red" || empty.Users == nil || len(empty.Users) != 0 || empty.IsTruncated {
		t.Errorf("%+v", empty)
	}
	for _, name := range []string{"ann", "Bay", "cid"} {
		got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))(t)
		got(w.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: sdk.String("RED"), UserName: &name}))(t)
	}
	var users []string
	for pages := iam.NewGetGroupPaginator(w, &iam.GetGroupInput{GroupName: sdk.String("Red"), MaxItems: sdk.Int32(2)}); pages.HasMorePages() && len(users) < 20; {
		page := got(pages.NextPage(ctx))(t)
		for _, u := range page.Users {
			users = append(users, *u.UserName)
		}
	}
	if fmt.Sprint(users) != "[ann Bay cid]" {
		t.Error(users)
	}
	for _, name := range []string{"blue", "Green"} {
		got(w.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: &name}))(t)
		got(w.AddUserToGroup(ctx, &iam.AddUserToGroupInput{GroupName: &name, UserName: sdk.String("ann")}))(t)
	}
	var groups []string
	for pages := iam.NewListGroupsForUserPaginator(w, &iam.ListGroupsForUserInput{UserName: sdk.String("ANN"), MaxItems: sdk.Int32(1)}); pages.HasMorePages() && len(groups) < 20; {
		page := got(pages.NextPage(ctx))(t)
		for _, g := range page.Groups {
			groups = append(groups, *g.GroupName)
		}
	}
	if fmt.Sprint(groups) != "[blue Green Red]" {
		t.Error(groups)
	}
	if list := got(w.ListGroups(ctx, &iam.ListGroupsInput{MaxItems: sdk.Int32(2)}))(t); len(list.Groups) != 2 || !list.IsTruncated || list.Marker == nil {
		t.Errorf("%+v", list)
	}
	got(w.UpdateGroup(ctx, &iam.UpdateGroupInput{GroupName: sdk.String("red"), NewGroupName: sdk.String("Rosso")}))(t)
	if same := got(w.GetGroup(ctx, &iam.GetGroupInput{GroupName: sdk.String("rosso")}))(t); *same.Group.GroupId != *red.GroupId || *same.Group.Arn != arn+"group/g/Rosso" {
		t.Errorf("%+v", same.Group)
	}
	_, err := w.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: sdk.String("Rosso")})
	w.refused(err, "DeleteConflict", 409, "Cannot delete entity, must remove users from group first.")
	got(w.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{GroupName: sdk.String("Green"), UserName: sdk.String("Ann")}))(t)
	got(w.DeleteGroup(ctx, &iam.DeleteGroupInput{GroupName: sdk.String("green")}))(t)
	_, err = w.GetGroup(ctx, &iam.GetGroupInput{GroupName: sdk.String("green")})
	w.refused(err, "NoSuchEntity", 404, "The group with name green cannot be found.")
}

func TestRoles(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	ann := got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("ann")}))(t).User
	forAnn := strings.Replace(trust, `"Service":"ec2.amazonaws.com"`, `"AWS":"`+*ann.Arn+`"`, 1)
	boundary := w.managed("bound")
	made := got(w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: sdk.String("Builder"), Path: sdk.String("/ci/"), AssumeRolePolicyDocument: &forAnn,
		Description: sdk.String("builds"), MaxSessionDuration: sdk.Int32(7200), PermissionsBoundary: &boundary, Tags: []types.Tag{tag("k", "v")}}))(t).Role
	if *made.Arn != arn+"role/ci/Builder" || w.decoded(made.AssumeRolePolicyDocument) != forAnn || tagText(made.Tags) != "k=v" || *made.PermissionsBoundary.PermissionsBoundaryArn != boundary ||
		made.MaxSessionDuration != nil || made.Description != nil || strings.ContainsAny(*made.AssumeRolePolicyDocument, `{" :+`) {
		t.Errorf("%+v", made)
	}
	read := got(w.GetRole(ctx, &iam.GetRoleInput{RoleName: sdk.String("builder")}))(t).Role
	if *read.RoleId != *made.RoleId || *read.Description != "builds" || *read.MaxSessionDuration != 7200 || w.decoded(read.AssumeRolePolicyDocument) != forAnn || tagText(read.Tags) != "k=v" || read.PermissionsBoundary == nil {
		t.Errorf("%+v", read)
	}
	got(w.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: sdk.String("Builder"), MaxSessionDuration: sdk.Int32(3600)}))(t)
	described := got(w.UpdateRoleDescription(ctx, &iam.UpdateRoleDescriptionInput{RoleName: sdk.String("Builder"), Description: sdk.String("other")}))(t).Role
	if *described.Description != "other" || *described.Arn != *made.Arn || w.decoded(described.AssumeRolePolicyDocument) != forAnn {
		t.Errorf("%+v", described)
	}
	got(w.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: sdk.String("Builder"), PolicyDocument: sdk.String(trust)}))(t)
	got(w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: sdk.String("another"), AssumeRolePolicyDocument: &forAnn}))(t)
	list := got(w.ListRoles(ctx, &iam.ListRolesInput{}))(t)
	if len(list.Roles) != 2 || *list.Roles[0].RoleName != "another" || w.decoded(list.Roles[0].AssumeRolePolicyDocument) != forAnn || list.Roles[0].Description != nil ||
		w.decoded(list.Roles[1].AssumeRolePolicyDocument) != trust || *list.Roles[1].Description != "other" || *list.Roles[1].MaxSessionDuration != 3600 || list.Roles[1].Tags != nil || list.Roles[1].PermissionsBoundary != nil {
		t.Errorf("%+v", list.Roles)
	}
	if none := got(w.ListRoles(ctx, &iam.ListRolesInput{PathPrefix: sdk.String("/no/")}))(t); none.Roles == nil || len(none.Roles) != 0 {
		t.Errorf("%+v", none)
	}
	_, err := w.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: sdk.String("Builder"), PolicyDocument: sdk.String(strings.Replace(forAnn, "user/ann", "user/nobody", 1))})
	w.refused(err, "MalformedPolicyDocument", 400, `Invalid principal in policy: "AWS":"arn:aws:iam::111111111111:user/nobody"`)
	_, err = w.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: sdk.String("Builder"), PolicyDocument: sdk.String("{")})
	w.refused(err, "MalformedPolicyDocument", 400, "This policy contains invalid Json")
	got(w.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: sdk.String("builder")}))(t)
	_, err = w.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: sdk.String("builder")})
	w.refused(err, "NoSuchEntity", 404, "The role with name builder cannot be found.")
}

func TestServiceLinkedRoles(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	const service = "replication.ecr.amazonaws.com"
	made := got(w.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: sdk.String(service), Description: sdk.String("d")}))(t).Role
	if *made.Arn != arn+"role/aws-service-role/"+service+"/AWSServiceRoleForECRReplication" || !strings.Contains(w.decoded(made.AssumeRolePolicyDocument), service) {
		t.Errorf("%+v", made)
	}
	_, err := w.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: sdk.String(service)})
	w.refused(err, "InvalidInput", 400, "Service role name AWSServiceRoleForECRReplication has been taken in this account, please try a different suffix.")
	_, err = w.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: sdk.String(service), CustomSuffix: sdk.String("x")})
	w.refused(err, "InvalidInput", 400, "Custom suffix is not allowed for "+service)
	_, err = w.CreateServiceLinkedRole(ctx, &iam.CreateServiceLinkedRoleInput{AWSServiceName: sdk.String("s3.amazonaws.com")})
	w.refused(err, "InvalidInput", 400, "s3.amazonaws.com is not a service that supports service-linked roles.")
	_, err = w.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: made.RoleName})
	w.refused(err, "UnmodifiableEntity", 400, "Cannot perform the operation on the protected role 'AWSServiceRoleForECRReplication' - this role is only modifiable by AWS")
	w.inUse = append(w.inUse, "eu-west-1")
	task := got(w.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: made.RoleName}))(t).DeletionTaskId
	failed := got(w.GetServiceLinkedRoleDeletionStatus(ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task}))(t)
	if failed.Status != types.DeletionTaskStatusTypeFailed || *failed.Reason.Reason == "" || len(failed.Reason.RoleUsageList) != 1 ||
		*failed.Reason.RoleUsageList[0].Region != "eu-west-1" || failed.Reason.RoleUsageList[0].Resources[0] != *made.Arn {
		t.Errorf("%+v", failed)
	}
	w.inUse = nil
	task = got(w.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: made.RoleName}))(t).DeletionTaskId
	if done := got(w.GetServiceLinkedRoleDeletionStatus(ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: task}))(t); done.Status != types.DeletionTaskStatusTypeSucceeded || done.Reason != nil {
		t.Errorf("%+v", done)
	}
	_, err = w.GetServiceLinkedRoleDeletionStatus(ctx, &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: sdk.String("x")})
	w.refused(err, "InvalidInput", 400, "Invalid deletion task id: x")
	_, err = w.DeleteServiceLinkedRole(ctx, &iam.DeleteServiceLinkedRoleInput{RoleName: made.RoleName})
	w.refused(err, "NoSuchEntity", 404, "")
}

// An empty list has its element in the answer: other readers than the SDK look
// for it.
func TestEmptyLists(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	got(w.CreateUser(ctx, &iam.CreateUserInput{UserName: sdk.String("x")}))(t)
	got(w.CreateGroup(ctx, &iam.CreateGroupInput{GroupName: sdk.String("x")}))(t)
	got(w.CreateRole(ctx, &iam.CreateRoleInput{RoleName: sdk.String("x"), AssumeRolePolicyDocument: sdk.String(trust)}))(t)
	for call, element := range map[string]string{
		"ListUsers&PathPrefix=/no/": "Users", "ListGroups&PathPrefix=/no/": "Groups", "ListRoles&PathPrefix=/no/": "Roles", "GetGroup&GroupName=x": "Users",
		"ListGroupsForUser&UserName=x": "Groups", "ListUserPolicies&UserName=x": "PolicyNames", "ListGroupPolicies&GroupName=x": "PolicyNames", "ListRolePolicies&RoleName=x": "PolicyNames",
		"ListAttachedUserPolicies&UserName=x": "AttachedPolicies", "ListAttachedGroupPolicies&GroupName=x": "AttachedPolicies", "ListAttachedRolePolicies&RoleName=x": "AttachedPolicies",
		"ListUserTags&UserName=x": "Tags", "ListRoleTags&RoleName=x": "Tags",
	} {
		form, err := url.ParseQuery("Version=2010-05-08&Action=" + call)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.PostForm(w.endpoint, form)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		text := string(body)
		if resp.StatusCode != 200 || !strings.Contains(text, "<"+element+"></"+element+">") && !strings.Contains(text, "<"+element+"/>") || !strings.Contains(text, "<IsTruncated>false</IsTruncated>") {
			t.Errorf("%s: %s", call, text)
		}
	}
}
