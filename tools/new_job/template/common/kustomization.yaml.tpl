# For overlays and `make deploy`: a kustomization may name this folder, but not a file in it.
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - service.yaml
