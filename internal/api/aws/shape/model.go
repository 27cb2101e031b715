package shape

// Error is an error of a service model, as the generated ErrorShapes list it.
type Error struct {
	// Name stands in the error's body: "RepositoryNotFoundException".
	Name string
	// Status is the HTTP status.
	Status int
	// Members are the JSON names that the error has besides the message.
	Members []string
}
