// Package language finds the packages of programming languages in the files of an
// image's layers, one file at a time: those that are installed (executables with build
// information, Java archives, what npm, pip, gem, Composer and NuGet leave behind) and those
// that a lock file pins.
//
// It owns the formats and their limits. Every parser is our own and small, because the files
// come from strangers: memory is bounded by the limits of this package whatever a file claims,
// nothing is written or unpacked to disk, and Parse never panics. Names and versions are written
// as Trivy's library matcher looks them up.
//
// It does not read layers (inventory/read does, and decides which files it can
// hand over), does not know which files belong to a distribution's packages (inventory.Merge), and
// knows no vulnerabilities (scan/match).
//
// Two limits of knowledge: a Java archive without pom.properties is named by its manifest or by
// a short table of well-known artifacts, as there is no index of all of Maven Central here; and
// whether a lock file's packages are installed as well cannot be told from one file.
package language
