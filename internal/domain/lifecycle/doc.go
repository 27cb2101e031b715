// Package lifecycle owns the lifecycle policies of repositories: where they are
// kept, when they run, their previews, and the clean-up that follows an image that
// others refer to as their subject.
//
// It does not own the language (lifecycle/rules) nor what a policy selects
// (lifecycle/selection), both pure; nor the deletion of images (domain/image) and
// their storage class (domain/image/storage).
//
// # When a policy runs
//
// A change of the policy or of the repository's images enqueues one run, after a
// short delay that gathers what comes together; the periodic sweep enqueues one
// for every policy that has not run for most of a day. Runs are jobs, unique for
// their repository.
//
// # How it runs
//
// A run reads the images in one snapshot, evaluates, and then acts in small
// transactions, each holding the repository's row for a few images only. In it
// every image is looked at again: one that changed since the snapshot, by a tag, a
// pull or a restoration that the decision could rest on, is left to the next run.
// A policy that was replaced meanwhile ends the run. So a run that is killed at
// any moment has done some of the actions, each with its events, and the next one
// decides about the rest as it would have.
package lifecycle
