package oci

import (
	"net/http"
	"testing"
	"time"
)

// Target is the registry under test. The repositories have to exist; what the
// suite pushes into them has fresh content and tags every time, so it can run
// against the same ones again.
type Target struct {
	// BaseURL is the registry's scheme://host[:port].
	BaseURL string
	// Authorization is the value of the Authorization header of a caller who
	// may do everything in the repositories.
	Authorization string
	// Alias is the registry's where it is a public one, "" for a private one. The names
	// of repositories below begin with it, and Authorization is the API's token as a
	// bearer.
	Alias string
	// OtherAlias is another active alias of the public registry, ForeignRepo a public
	// repository of another account that holds an image with the tag latest.
	OtherAlias, ForeignRepo string
	// Repo1 and Repo2 are two mutable repositories of one registry.
	Repo1, Repo2 string
	// Client is used for all requests; nil: a client of its own that follows
	// no redirects.
	Client *http.Client

	// What follows is optional; the checks that need it are not part of the
	// run where it is missing.

	// ImmutableRepo is a repository whose tags cannot be moved.
	ImmutableRepo string
	// Refused are Authorization values that are answered with 401, by a public
	// registry with 400: of another
	// region's registry, of an access key that is gone.
	Refused []string
	// Expired is the Authorization of a token past its life.
	Expired string
	// Foreign is the Authorization of another account, to which nothing is
	// allowed here.
	Foreign string
	// Stall is how long the server lets a transfer stand still; checks wait a
	// few times as long. With it, the run is that of slow clients and nothing else.
	Stall time.Duration
}

// check is one check of the contract.
type check struct {
	name string
	run  func(*testing.T, *suite)
}

// Run runs the whole contract against the target, save slow clients, which only a
// target with a Stall is tried with.
func Run(t *testing.T, target Target) {
	s := newSuite(target)
	checks := []check{
		{"VersionCheck", versionCheck},
		{"Challenge", challenge},
		{"AlteredTokens", alteredTokens},
		{"RequestHeadersOfEveryAnswer", commonHeaders},

		{"PushMonolithic", pushMonolithic},
		{"PushInOnePost", pushInOnePost},
		{"PushStreamed", pushStreamed},
		{"PushChunked", pushChunked},
		{"PushLastChunkInPut", pushLastChunkInPut},
		{"ChunksOutOfOrder", chunksOutOfOrder},
		{"AppendWithoutRange", appendWithoutRange},
		{"UploadStateIsInThePath", uploadStateInPath},
		{"CancelUpload", cancelUpload},
		{"WrongDigests", wrongDigests},
		{"WellKnownBlobs", wellKnownBlobs},
		{"PushAgain", pushAgain},
		{"ConcurrentUploadsOfOneBlob", concurrentUploads},
		{"CutConnection", cutConnection},
		{"Mount", mount},

		{"PullBlob", pullBlob},
		{"BlobRanges", blobRanges},
		{"ConditionalBlob", conditionalBlob},
		{"DeleteBlob", deleteBlob},

		{"PushManifestByTag", pushManifestByTag},
		{"PushManifestByDigest", pushManifestByDigest},
		{"TagParameters", tagParameters},
		{"ManifestKinds", manifestKinds},
		{"LargeManifest", largeManifest},
		{"ConditionalManifest", conditionalManifest},
		{"MoveTag", moveTag},
		{"DeleteManifestByTag", deleteManifestByTag},
		{"DeleteManifestByDigest", deleteManifestByDigest},
		{"DeleteChildOfIndex", deleteChild},

		{"TagsInOrder", tagsInOrder},
		{"TagPages", tagPages},
		{"ReferrersOfNothing", referrersOfNothing},
		{"Referrers", referrers},
		{"ReferrerPages", referrerPages},

		{"MissingRepository", missingRepository},
		{"BadInput", badInput},
	}
	if target.Alias == "" {
		checks = append(checks, check{"Catalog", catalog})
	} else {
		checks = append(checks, publicChecks()...)
	}
	if target.ImmutableRepo != "" {
		checks = append(checks, check{"ImmutableTags", immutableTags})
	}
	if len(target.Refused) > 0 {
		checks = append(checks, check{"RefusedTokens", refusedTokens})
	}
	if target.Expired != "" {
		checks = append(checks, check{"ExpiredToken", expiredToken})
	}
	if target.Foreign != "" {
		checks = append(checks, check{"OtherAccount", otherAccount})
	}
	if target.Stall > 0 {
		checks = []check{{"SlowClient", slowClient}, {"StalledClient", stalledClient}}
	}
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}
