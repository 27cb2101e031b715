// Package oci is the data plane: the OCI distribution API 1.1 under /v2/, as
// docker and every other registry client speaks it, answered the way Amazon
// ECR answers it.
//
// Each route is a row (routes.go) that names the ECR operation it stands for
// and what that operation needs; one pipeline (pipeline.go) authenticates,
// authorizes, runs the row, writes the answer and records the call, and
// nothing reaches a row around it. Where ECR and the specification disagree,
// the specification holds, unless Config.Quirks asks for ECR's own ways
// (docs/decisions/0005-oci-spec-by-default.md).
//
// Private and public registries differ in who may ask, what a path means and what a
// refusal looks like; that is Config.Front's (oci/front, oci/public).
//
// It does not own what it serves: layers and uploads are domain/layer's,
// manifests, tags and referrers domain/image's, tokens domain/principal's, and
// who may do what domain/authz's. Which host stands for which registry is
// decided by the app (Config.Resolve).
package oci
