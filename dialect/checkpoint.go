package dialect

// ImportedCheckpoint answers POST /checkpoints/import: the container that was
// made, and the checkpoint that it can be started from.
type ImportedCheckpoint struct {
	ID         string
	Checkpoint string
	Warnings   []string
}
