module github.com/davit-engine/davit/test/oci/suite

go 1.26.6

require github.com/opencontainers/runtime-tools v0.9.1-0.20251114084447-edf4cb3d2116 // indirect
