"""Encoders behind the ``Encoder`` protocol of ``hymem.types``. The default one is
``snn_encoder.SpikingEncoder``; these take its place when asked for."""
