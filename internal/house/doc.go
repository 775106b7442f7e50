// Package house holds the rules of this repository as tests: what may import
// what, what an importer of a package links, how large files and surfaces may
// grow, and that the snippets in README files are Examples that run.
//
// Each rule is a function from the state of the repository to a list of
// violations. It is tested twice: on this repository, where the list must be
// empty, and on a made-up offender, where it must not.
package house
