package aws

import (
	"net/http"
	"slices"
	"testing"
)

// Target is the deployment under test. All repositories that the suite uses it
// makes itself, under names that are new every time, so it can run against the
// same target again.
type Target struct {
	// URL is scheme://host[:port] of a host that names no service, where the
	// registry of Account and Region is the default one.
	URL string
	// Region is what requests are signed for.
	Region string
	// Account has 12 digits.
	Account string
	// AccessKeyID and SecretAccessKey belong to a caller who may do everything
	// in the account.
	AccessKeyID, SecretAccessKey string
	// Client is used for all requests; nil: a client of its own.
	Client *http.Client

	// What follows is optional; the checks that need it are not part of the
	// run where it is missing.

	// OtherRegion is a second region that is served.
	OtherRegion string
	// Domain ends the canonical host names.
	Domain string
	// OtherAccount is another account with the key of a caller there, to whom
	// nothing is allowed here.
	OtherAccount string
	Other        Caller
	// Built and Missing are the operations of the ECR API that the target says
	// it has and has not.
	Built, Missing []string
	// PublicRegistry is where clients of URL reach public registries, as host[:port], and
	// Gallery the URL of the gallery; PublicBuilt are the operations of the ECR Public API
	// that the target says it has. Region is the one where the API is.
	PublicRegistry, Gallery string
	PublicBuilt             []string
	// ExpiredDownload is an address of GetDownloadUrlForLayer past its life.
	ExpiredDownload string
	// Limits are quotas of the target that are low enough to be reached.
	Limits *Limits
}

// Limits are quotas, set low for a test.
type Limits struct {
	RepositoriesPerRegistry, ImagesPerRepository, TagsPerImage, LayersPerImage, ManifestBytes int
	MaxLayerBytes, MaxLayerParts, MinPartBytes, MaxPartBytes, PartSize, ResourceTags          int
}

// check is one check of the contract.
type check struct {
	name string
	run  func(*suite, *testing.T)
}

// Run runs the whole contract against the target.
func Run(t *testing.T, target Target) {
	s := newSuite(t, target)
	checks := []check{
		{"RequestsAndAnswers", (*suite).envelopes},
		{"UnknownOperations", (*suite).unknownOperations},
		{"BodiesThatCannotBeRead", (*suite).unreadableBodies},
		{"MembersOfInputs", (*suite).inputMembers},
		{"BodySizes", (*suite).bodySizes},
		{"ErrorsOfTheSDK", (*suite).sdkErrors},
		{"WhatEveryOperationRefuses", (*suite).commonRefusals},
		{"BadInput", (*suite).badInput},

		{"Signatures", (*suite).signatures},
		{"SignatureScopes", (*suite).signatureScopes},
		{"SignatureTimes", (*suite).signatureTimes},
		{"AlteredRequests", (*suite).alteredRequests},
		{"PresignedRequests", (*suite).presignedRequests},
		{"CallerIdentity", (*suite).callerIdentity},
		{"CallerIdentityRefused", (*suite).callerIdentityRefused},

		{"AuthorizationToken", (*suite).authorizationToken},
		{"AuthorizationTokensOfRegistries", (*suite).authorizationTokensOfRegistries},
		{"Registry", (*suite).registrySettings},
		{"RegistryPolicy", (*suite).registryPolicy},
		{"RepositoryPolicy", (*suite).repositoryPolicy},
		{"RepositoryPolicyRefused", (*suite).repositoryPolicyRefused},
		{"AccountSettings", (*suite).accountSettings},
		{"PullTimeExclusions", (*suite).pullTimeExclusions},
		{"Templates", (*suite).templates},
		{"PagesOfTemplates", (*suite).templatePages},
		{"CreateOnPush", (*suite).createOnPush},
		{"PullThroughRules", (*suite).pullThroughRules},
		{"PagesOfPullThroughRules", (*suite).pullThroughPages},
		{"Secrets", (*suite).secrets},
		{"LifecyclePolicies", (*suite).lifecyclePolicies},
		{"LifecyclePreview", (*suite).lifecyclePreview},
		{"StorageClasses", (*suite).storageClasses},
		{"ScanningConfiguration", (*suite).scanningConfiguration},
		{"Scans", (*suite).scans},

		{"CreateRepository", (*suite).createRepository},
		{"RepositoryNames", (*suite).repositoryNames},
		{"Encryption", (*suite).encryption},
		{"DescribeRepositories", (*suite).describeRepositories},
		{"PagesOfRepositories", (*suite).repositoryPages},
		{"DeleteRepository", (*suite).deleteRepository},
		{"TagMutabilitySetting", (*suite).tagMutabilitySetting},
		{"ScanningSetting", (*suite).scanningSetting},
		{"ResourceTags", (*suite).resourceTags},
		{"ResourceTagLimits", (*suite).resourceTagLimits},
		{"RepositoriesAtOnce", (*suite).repositoriesAtOnce},

		{"LayerUpload", (*suite).layerUpload},
		{"LayerPartsOutOfPlace", (*suite).partsOutOfPlace},
		{"LayerPartSizes", (*suite).partSizes},
		{"LayerDigests", (*suite).layerDigests},
		{"LayersThatAreThere", (*suite).existingLayers},
		{"UploadIds", (*suite).uploadIDs},
		{"LayersAtOnce", (*suite).layersAtOnce},
		{"LayerAvailability", (*suite).layerAvailability},
		{"LayerDownload", (*suite).layerDownload},

		{"PutImage", (*suite).putImage},
		{"PutImageAgain", (*suite).putImageAgain},
		{"PutImageMovesTags", (*suite).putImageMovesTags},
		{"PutImageKinds", (*suite).putImageKinds},
		{"PutImageDigests", (*suite).putImageDigests},
		{"PutImageReferences", (*suite).putImageReferences},
		{"ManifestBytes", (*suite).manifestBytes},
		{"Retag", (*suite).retag},
		{"ImmutableTags", (*suite).immutableTags},
		{"ImagesAtOnce", (*suite).imagesAtOnce},

		{"BatchGetImage", (*suite).batchGetImage},
		{"Translation", (*suite).translation},
		{"DeleteByTag", (*suite).deleteByTag},
		{"DeleteByDigest", (*suite).deleteByDigest},
		{"DeleteFailures", (*suite).deleteFailures},
		{"DeleteWhatIsReferenced", (*suite).deleteReferenced},

		{"ListImages", (*suite).listImages},
		{"DescribeImages", (*suite).describeImages},
		{"DescribeImagesByName", (*suite).describeImagesByName},
		{"Pages", (*suite).pages},
		{"DefaultPages", (*suite).defaultPages},
		{"PageTokens", (*suite).pageTokens},
		{"PagesWhileImagesComeAndGo", (*suite).pagesUnderChange},
		{"ListImageReferrers", (*suite).listImageReferrers},
		{"PagesOfReferrers", (*suite).referrerPages},
	}
	if target.OtherRegion != "" {
		checks = append(checks, check{"Regions", (*suite).regions}, check{"ReplicationConfiguration", (*suite).replicationConfiguration},
			check{"Replication", (*suite).replicated}, check{"BackfillErrors", (*suite).backfillErrors}, check{"EnhancedScanning", (*suite).enhancedScanning})
	}
	if target.Domain != "" {
		checks = append(checks, check{"CanonicalHosts", (*suite).canonicalHosts})
	}
	if target.OtherAccount != "" {
		checks = append(checks, check{"AnotherAccount", (*suite).anotherAccount})
	}
	if len(target.Built)+len(target.Missing) > 0 {
		checks = append(checks, check{"BuiltAndMissing", (*suite).builtAndMissing})
	}
	if target.PublicRegistry != "" {
		checks = append(checks, publicChecks(target)...)
	}
	if target.ExpiredDownload != "" {
		checks = append(checks, check{"ExpiredDownload", (*suite).expiredDownload})
	}
	if target.Limits != nil {
		checks = []check{
			{"RepositoriesPerRegistry", (*suite).limitRepositories},
			{"ImagesPerRepository", (*suite).limitImages},
			{"TagsPerImage", (*suite).limitTags},
			{"ManifestSize", (*suite).limitManifest},
			{"LayerSizeAndParts", (*suite).limitLayers},
			{"ResourceTags", (*suite).limitResourceTags},
		}
		if target.PublicRegistry != "" {
			checks = append(checks, public(slices.Clone(checks))...)
		}
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(s, t) })
	}
}
