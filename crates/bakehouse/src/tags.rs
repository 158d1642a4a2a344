//! What each image is called, and which tags a run writes: one rule for `build` and `plan`.

use std::collections::BTreeMap;

use bakehouse_model::oci::Reference;
use bakehouse_plan::fleet;

use crate::failure::{Failure, Kind};
use crate::outputs::Wanted;
use crate::request::Request;

/// The references of each wanted image.
pub type Names = BTreeMap<String, Vec<Reference>>;

/// What each wanted image is called: by `--tag` if it was named, and where `--registry` puts it;
/// without these, as its own definition says, else where `bakehouse.toml` puts it.
pub fn names(request: &Request, wanted: &Wanted) -> Result<Names, Failure> {
    if !wanted.all.tags.is_empty() && request.named.len() > 1 {
        return Err(Failure::new(
            Kind::Usage,
            format!("a tag can name one image, and {} are to be built", request.named.len()),
        )
        .hint("name the image: `bakehouse build IMAGE -t REF`; --registry names all of them"));
    }
    let mut names = Names::new();
    for name in &request.wanted {
        names.insert(name.clone(), of_image(request, wanted, name)?);
    }
    let nameless = |name: &&String| wanted.image(name).push && names[*name].is_empty();
    match request.named.iter().find(nameless) {
        None => Ok(names),
        Some(name) => {
            let what = format!("`{name}` is to be pushed, and nothing says where to");
            Err(Failure::new(Kind::Usage, what).hint(
                "add `--registry HOST/PREFIX`, `-t HOST/NAME` for one image, or `tags` to its \
                 bake target; or name the images to push",
            ))
        }
    }
}

fn of_image(request: &Request, wanted: &Wanted, name: &str) -> Result<Vec<Reference>, Failure> {
    let mut own = Vec::new();
    if request.named.contains(name) {
        own.extend(wanted.image(name).tags.iter().cloned());
    }
    let below = |prefix: &String| {
        let text = format!("{prefix}/{}:latest", fleet::clean(name));
        text.parse::<Reference>().map_err(|error| Failure::from_error(Kind::Usage, &error))
    };
    if let Some(registry) = &request.registry {
        own.push(below(registry)?);
        return Ok(own);
    }
    if own.is_empty()
        && let Some(image) = request.fleet.image(name)
    {
        // What is no reference has been told of where the definition was read.
        let tags = image.references.iter().take(image.tags);
        own.extend(tags.filter_map(|text| text.parse::<Reference>().ok()));
    }
    if own.is_empty()
        && let Some(prefix) = &request.prefix
    {
        own.push(below(prefix)?);
    }
    Ok(own)
}

/// The tags that a run writes: those of the images that were asked for, if they are pushed or
/// loaded.
pub fn written(request: &Request, wanted: &Wanted, names: &Names) -> BTreeMap<String, Vec<String>> {
    let of = |name: &String| {
        let mut tags: Vec<String> =
            names.get(name).into_iter().flatten().map(Reference::familiar).collect();
        if tags.is_empty() && wanted.image(name).load {
            tags.extend(name.parse::<Reference>().map(|own| own.familiar()));
        }
        (name.clone(), tags)
    };
    let sent = |name: &&String| wanted.image(name).push || wanted.image(name).load;
    request.named.iter().filter(sent).map(of).filter(|(_, tags)| !tags.is_empty()).collect()
}
