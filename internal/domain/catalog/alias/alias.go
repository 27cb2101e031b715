// Package alias is the rules for the custom aliases of public registries: which name
// nobody can have, and which should not be had (ECR Public user guide, "Updating registry
// settings"). It is pure.
//
// It does not know which aliases there are; domain/catalog does. Two of the guide's
// rules are left to people: names of companies that the account may not use, and words
// that offend.
package alias

import (
	"slices"
	"strings"

	"github.com/berth-registry/berth/internal/domain/errs"
	"github.com/berth-registry/berth/internal/domain/name"
)

// reserved are names that begin paths of the public registry's and the gallery's hosts, or
// may one day, and files that browsers ask for by themselves.
var reserved = []string{
	"about", "account", "admin", "api", "assets", "auth", "browse", "categories", "console", "css", "debug", "docs", "error", "explore",
	"favicon.ico", "feed", "fonts", "gallery", "health", "healthz", "help", "home", "images", "img", "index.html", "js", "livez", "login", "logo",
	"logos", "logout", "metrics", "oauth2", "opensearch.xml", "privacy", "publishers", "readyz", "robots.txt", "search", "security.txt", "settings",
	"signin", "signout", "sitemap.xml", "static", "status", "terms", "token", "v1", "v2", "v3", "verified", "version",
}

// parts must be nowhere in an alias.
var parts = []string{"amazon", "aws"}

// generic are names that say nothing of whose they are, or promise what they are not.
var generic = []string{
	"alpine", "anonymous", "apps", "base", "community", "container", "containers", "debian", "default", "demo", "dev", "docker", "dockerhub", "example",
	"examples", "hub", "image", "kubernetes", "latest", "library", "linux", "local", "localhost", "market", "marketplace", "null", "oci", "official",
	"open", "opensource", "private", "prod", "production", "public", "registry", "release", "releases", "repo", "repositories", "repository", "root",
	"sample", "samples", "shared", "stable", "staging", "store", "system", "team", "temp", "test", "testing", "tests", "tmp", "trusted", "ubuntu", "undefined",
	"user", "users", "windows", "www",
}

// services are names of AWS services, without what separates their words.
var services = []string{
	"amplify", "apigateway", "appconfig", "appflow", "applicationautoscaling", "appmesh", "apprunner", "appstream", "appsync", "artifact", "athena", "auditmanager", "aurora", "autoscaling",
	"backup", "batch", "bedrock", "billing", "bottlerocket", "braket", "certificatemanager", "chatbot", "chime", "cloud9", "cloudformation", "cloudfront", "cloudhsm",
	"cloudmap", "cloudsearch", "cloudshell", "cloudtrail", "cloudwatch", "codeartifact", "codebuild", "codecatalyst", "codecommit", "codedeploy", "codeguru", "codepipeline", "codestar",
	"codewhisperer", "cognito", "comprehend", "computeoptimizer", "controltower", "copilot", "corretto", "costexplorer", "databrew", "dataexchange", "datapipeline", "datasync", "datazone",
	"deeplens", "deepracer", "detective", "devicefarm", "devopsguru", "directconnect", "directoryservice", "dms", "documentdb", "dynamodb", "ebs", "ec2", "ecr", "ecrpublic", "ecs", "efs", "eks",
	"elasticache", "elasticbeanstalk", "elasticcontainerregistry", "elasticcontainerservice", "elasticinference", "elasticloadbalancing", "elasticmapreduce", "elasticsearchservice",
	"elastictranscoder", "elb", "emr", "eventbridge", "faultinjection", "fargate", "finspace", "firecracker", "firewallmanager", "forecast", "frauddetector", "freertos", "fsx", "gamelift",
	"glacier", "globalaccelerator", "glue", "greengrass", "groundstation", "guardduty", "healthlake", "honeycode", "iam", "imagebuilder", "inspector", "iotcore", "ivs", "kendra", "keyspaces",
	"kinesis", "kms", "lakeformation", "lambda", "lex", "lexv2", "licensemanager", "lightsail", "location", "lookoutmetrics", "lumberyard", "macie", "managedblockchain", "mediaconnect",
	"mediaconvert", "medialive", "mediapackage", "mediastore", "mediatailor", "memorydb", "migrationhub", "mobilehub", "mq", "msk", "mwaa", "neptune", "networkfirewall", "nimblestudio", "opensearch",
	"opsworks", "organizations", "outposts", "panorama", "personalize", "pinpoint", "polly", "privatelink", "proton", "qldb", "quicksight", "ram", "rds", "redshift", "rekognition", "resiliencehub",
	"robomaker", "rosa", "route53", "s3", "sagemaker", "savingsplans", "secretsmanager", "securityhub", "serverlessrepo", "servicecatalog", "servicequotas", "ses", "shield", "signer",
	"simpledb", "snowball", "snowcone", "snowmobile", "sns", "sqs", "stepfunctions", "storagegateway", "sts", "sumerian", "swf", "systemsmanager", "textract", "timestream", "transcribe",
	"transferfamily", "transitgateway", "translate", "trustedadvisor", "verifiedpermissions", "vpc", "vpclattice", "waf", "wellarchitected", "workdocs", "worklink", "workmail", "workspaces", "xray",
}

// long is how long a service's name is that nobody writes by chance: it must not be in
// an alias at all. Shorter ones must not be a word of it.
const long = 8

// Check says what is wrong with a custom alias: errs.InvalidParameter. force lets pass
// what should be avoided, but not what cannot be an alias or is reserved.
func Check(alias string, force bool) error {
	if _, err := name.ParseAlias(alias); err != nil {
		return errs.New(errs.InvalidParameter, "%q cannot be an alias: %v.", alias, err)
	}
	if slices.Contains(reserved, alias) {
		return errs.New(errs.InvalidParameter, "The alias '%s' is reserved for the program's own addresses. Choose another one.", alias)
	}
	if force {
		return nil
	}
	if why := Avoid(alias); why != "" {
		return errs.New(errs.InvalidParameter, "The alias '%s' %s, which is to be avoided. Choose another one, or approve it with --force.", alias, why)
	}
	return nil
}

// Avoid says why an alias should not be had ("is a generic name"); "" for one that may.
func Avoid(alias string) string {
	for _, part := range parts {
		if strings.Contains(alias, part) {
			return "includes '" + part + "'"
		}
	}
	if slices.Contains(generic, alias) {
		return "is a generic name"
	}
	words := strings.FieldsFunc(alias, func(r rune) bool { return strings.ContainsRune("._-", r) })
	joined := strings.Join(words, "")
	for _, service := range services {
		if joined == service || slices.Contains(words, service) || len(service) >= long && strings.Contains(joined, service) {
			return "includes '" + service + "', the name of an AWS service"
		}
	}
	return ""
}
