package shape

// Error is an error of a service model, as the generated ErrorShapes list it.
type Error struct {
	// Name stands in the error's body: "RepositoryNotFoundException".
	Name string
	// Shape is the error's name in the model where that is another one and clients
	// learn it: in services that AWS calls compatible with the Query protocol.
	Shape string
	// Status is the HTTP status.
	Status int
	// Members are the JSON names that the error has besides the message.
	Members []string
}
