//! A `NetworkPlane` becomes a namespace with announcers.
