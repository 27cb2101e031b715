package identity

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// template makes a template for pushes to account A under a prefix of its own.
func (c *caller) template(t *testing.T, change func(*ecr.CreateRepositoryCreationTemplateInput)) (prefix string, err error) {
	t.Helper()
	in := &ecr.CreateRepositoryCreationTemplateInput{Prefix: aws.String(unique("template")), AppliedFor: []ecrtypes.RCTAppliedFor{ecrtypes.RCTAppliedForCreateOnPush}}
	if change != nil {
		change(in)
	}
	_, err = c.ecr.CreateRepositoryCreationTemplate(t.Context(), in)
	return *in.Prefix, err
}

func startPush(t *testing.T, c *caller, repo string) error {
	t.Helper()
	return ask(t, c.w.registryOf(accountA, c.login(t)), http.MethodPost, "/v2/"+repo+"/blobs/uploads/", http.StatusAccepted)
}

// ecrTrust lets ECR assume a role.
func ecrTrust() statement {
	return grant("sts:AssumeRole", map[string]any{"Service": "ecr.amazonaws.com"})
}

func templateAttempts() group {
	const denied = "AccessDeniedException"
	making := allow("ecr:CreateRepositoryCreationTemplate ecr:UpdateRepositoryCreationTemplate", "*")
	return group{"Repositories that a push makes", []attempt{
		{"a push that makes a repository, without ecr:CreateRepository, or with it for another one", lacking("403 DENIED", "ecr:CreateRepository"), func(t *testing.T, w *world) error {
			prefix := must(w.a.template(t, nil))(t)
			repo := prefix + "/app"
			pusher := w.a.user(t, can(pushing, prefix+"/*")...)
			without := startPush(t, pusher, repo)
			w.a.put(t, pusher.name, append(can(pushing, prefix+"/*"), allow("ecr:CreateRepository", repoARN(accountA, prefix+"/own")))...)
			rightful(t, "its own", startPush(t, pusher, prefix+"/own"))
			return each(without, startPush(t, pusher, repo))
		}},
		{"whether there is a template, for one who may not push there, by a push under it and elsewhere", lacking("403 DENIED", "ecr:InitiateLayerUpload"), func(t *testing.T, w *world) error {
			prefix := must(w.a.template(t, nil))(t)
			u := w.a.user(t, allow(signIn+" ecr:CreateRepository", "*"))
			return each(startPush(t, u, prefix+"/app"), startPush(t, u, unique("none")+"/app"))
		}},
		{"a push to the registry of another account that has a template, with every permission at home", crossed("403 DENIED", "ecr:InitiateLayerUpload"), func(t *testing.T, w *world) error {
			prefix := must(w.a.template(t, nil))(t)
			return startPush(t, w.b.user(t, allow("*", "*")), prefix+"/app")
		}},
		{"a template with a role that one may not pass on to ECR", lacking(denied, "iam:PassRole"), func(t *testing.T, w *world) error {
			role := w.a.role(t, ecrTrust(), allow("*", "*"))
			u := w.a.user(t, making)
			with := func(in *ecr.CreateRepositoryCreationTemplateInput) { in.CustomRoleArn = &role }
			_, bare := u.template(t, with)
			w.a.put(t, u.name, making, allow("iam:PassRole", role).when("StringEquals", "iam:PassedToService", "replication.ecr.amazonaws.com"))
			_, elsewhere := u.template(t, with)
			prefix := must(w.a.template(t, nil))(t)
			_, later := u.ecr.UpdateRepositoryCreationTemplate(t.Context(), &ecr.UpdateRepositoryCreationTemplateInput{Prefix: &prefix, CustomRoleArn: &role})
			w.a.put(t, u.name, making, allow("iam:PassRole", role).when("StringEquals", "iam:PassedToService", "ecr.amazonaws.com"))
			_, err := u.template(t, with)
			rightful(t, "for ECR", err)
			return each(bare, elsewhere, later)
		}},
		{"a template that gives its repositories away, without ecr:SetRepositoryPolicy", lacking(denied, "ecr:SetRepositoryPolicy"), func(t *testing.T, w *world) error {
			u := w.a.user(t, making)
			with := func(in *ecr.CreateRepositoryCreationTemplateInput) {
				in.RepositoryPolicy = aws.String(document(grant("ecr:*", principals(rootARN(accountB)))))
			}
			_, err := u.template(t, with)
			return err
		}},
		{"a template's role that does not trust ECR; one that may not make the repository; one that has gone", "403 DENIED", func(t *testing.T, w *world) error {
			create := allow("ecr:CreateRepository ecr:TagResource", "*")
			gone := w.a.role(t, ecrTrust())
			must(w.a.iam.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String(lastOf(gone))}))(t)
			push := func(role string) error {
				prefix := must(w.a.template(t, func(in *ecr.CreateRepositoryCreationTemplateInput) {
					in.CustomRoleArn = &role
					in.ResourceTags = []ecrtypes.Tag{{Key: aws.String("team"), Value: aws.String("blue")}}
				}))(t)
				err := startPush(t, w.a, prefix+"/app")
				if err != nil && w.a.describe(t, prefix+"/app") == nil {
					t.Error("the repository is there")
				}
				return err
			}
			rightful(t, "one that can", push(w.a.role(t, ecrTrust(), create)))
			return each(codeOf(push(w.a.role(t, trust(rootARN(accountA)), create))), codeOf(push(w.a.role(t, ecrTrust(), allow("ecr:CreateRepository", "*")))), codeOf(push(gone)))
		}},
		{"deleting the service-linked role of templates while there is one", "FAILED", func(t *testing.T, w *world) error {
			must(w.a.template(t, nil))(t)
			out := must(w.a.iam.DeleteServiceLinkedRole(t.Context(), &iam.DeleteServiceLinkedRoleInput{RoleName: aws.String("AWSServiceRoleForECRTemplate")}))(t)
			status := must(w.a.iam.GetServiceLinkedRoleDeletionStatus(t.Context(), &iam.GetServiceLinkedRoleDeletionStatusInput{DeletionTaskId: out.DeletionTaskId}))(t)
			if regions := status.Reason.RoleUsageList; len(regions) != 1 || aws.ToString(regions[0].Region) != home {
				t.Errorf("in use in %+v", regions)
			}
			return outcome(strings.ToUpper(string(status.Status)))
		}},
	}}
}
