//! A real Kubernetes cluster in network namespaces.
