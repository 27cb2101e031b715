// Package match says which vulnerabilities the software of an image has: it looks an
// inventory up in Trivy's vulnerability database.
//
// It owns the opening and checking of such a database, the calls into Trivy's detectors, and
// the rules that ECR has on top of them: which severity holds, which page tells of it. It
// neither reads images (scan/inventory/read does) nor fetches databases (scan/vulndb does),
// and keeps no results. Trivy promises no API, so no other package of Berth matches with it.
//
// Trivy keeps one database in a variable of the process, so a process has at most one open.
// Inventories come from hostile images: a version that no comparer understands is passed
// over, and so is a package that makes one panic.
package match
